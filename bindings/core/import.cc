#include "bindings/core/import.h"

#include <limits>
#include <utility>

#include "bindings/core/array_reader.h"

namespace varve::arrow {
namespace {

Status Bad(std::string message) { return MakeStatus(StatusCode::kInvalidArgument, message); }

// Nanoseconds of one unit of a timestamp format "ts?:zone", else 0.
int64_t TimestampUnit(std::string_view format) {
  if (format.size() < 4 || format.substr(0, 2) != "ts" || format[3] != ':') return 0;
  switch (format[2]) {
    case 's':
      return 1'000'000'000;
    case 'm':
      return 1'000'000;
    case 'u':
      return 1'000;
    case 'n':
      return 1;
    default:
      return 0;
  }
}

bool IsText(std::string_view format) {
  return format == "u" || format == "U" || format == "vu" || format == "z" || format == "Z" ||
         format == "vz";
}
Result<std::string_view> TextAt(std::string_view format, const ArrowArray& array, int64_t row) {
  const int64_t at = array.offset + row;
  if (format[0] == 'v') {
    const auto length = ValueAt<int32_t>(array.buffers[1], at * 4);
    const char* const inlined = static_cast<const char*>(array.buffers[1]) + at * 16 + 4;
    if (length < 0) return Bad("a text of negative length");
    if (length <= 12) return std::string_view(inlined, static_cast<size_t>(length));
    const auto buffer = ValueAt<int32_t>(array.buffers[1], at * 4 + 2);
    const auto offset = ValueAt<int32_t>(array.buffers[1], at * 4 + 3);
    const int64_t data_buffers = array.n_buffers - 3;
    if (buffer < 0 || buffer >= data_buffers || offset < 0) return Bad("a text out of bounds");
    const auto bytes = ValueAt<int64_t>(array.buffers[array.n_buffers - 1], buffer);
    if (bytes - offset < length) return Bad("a text out of bounds");
    return std::string_view(static_cast<const char*>(array.buffers[2 + buffer]) + offset,
                            static_cast<size_t>(length));
  }
  const bool large = format == "U" || format == "Z";
  const int64_t begin =
      large ? ValueAt<int64_t>(array.buffers[1], at) : ValueAt<int32_t>(array.buffers[1], at);
  const int64_t end = large ? ValueAt<int64_t>(array.buffers[1], at + 1)
                            : ValueAt<int32_t>(array.buffers[1], at + 1);
  if (begin < 0 || end < begin) return Bad("text offsets that do not ascend");
  if (end == begin) return std::string_view("", 0);
  return std::string_view(static_cast<const char*>(array.buffers[2]) + begin,
                          static_cast<size_t>(end - begin));
}

}  // namespace

Status CheckShape(const ArrowSchema& schema, const ArrowArray& array, std::string_view name) {
  const std::string_view format = schema.format;
  int64_t buffers = 2;
  if (format == "u" || format == "U" || format == "z" || format == "Z") buffers = 3;
  if (format == "vu" || format == "vz") buffers = 3;  // views, data..., sizes
  if (format == "+s" || format.starts_with("+w:")) buffers = 1;
  if (format == "n") buffers = 0;
  if (array.length < 0 || array.offset < 0 || array.n_buffers < buffers ||
      array.n_children != schema.n_children ||
      (schema.dictionary == nullptr) != (array.dictionary == nullptr)) {
    return Bad("column \"" + std::string(name) + "\": the array does not fit its type");
  }
  return absl::OkStatus();
}

Result<int64_t> IntegerAt(char type, const ArrowArray& array, int64_t row) {
  const int64_t at = array.offset + row;
  const void* data = array.buffers[1];
  switch (type) {
    case 'c':
      return ValueAt<int8_t>(data, at);
    case 'C':
      return ValueAt<uint8_t>(data, at);
    case 's':
      return ValueAt<int16_t>(data, at);
    case 'S':
      return ValueAt<uint16_t>(data, at);
    case 'i':
      return ValueAt<int32_t>(data, at);
    case 'I':
      return ValueAt<uint32_t>(data, at);
    case 'L': {
      const auto value = ValueAt<uint64_t>(data, at);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return Bad("row " + std::to_string(row) + ": " + std::to_string(value) +
                   " is over the largest int64");
      }
      return static_cast<int64_t>(value);
    }
    default:
      return ValueAt<int64_t>(data, at);
  }
}

Status AppendTexts(const ArrowSchema& schema, const ArrowArray& array, std::string_view name,
                   int64_t begin, int64_t count, std::vector<std::string_view>* out) {
  if (Status status = CheckShape(schema, array, name); !status.ok()) return status;
  if (schema.dictionary != nullptr) {
    const ArrowArray& values = *array.dictionary;
    if (!IsInteger(schema.format) || !IsText(schema.dictionary->format)) {
      return Bad("column \"" + std::string(name) +
                 "\" is a dictionary of something else than text");
    }
    if (Status status = CheckShape(*schema.dictionary, values, name); !status.ok()) return status;
    for (int64_t i = begin; i < begin + count; ++i) {
      if (IsNull(array, i)) {
        out->emplace_back();
        continue;
      }
      const Result<int64_t> index = IntegerAt(schema.format[0], array, i);
      if (!index.ok()) return index.status();
      if (*index < 0 || *index >= values.length) {
        return Bad("column \"" + std::string(name) + "\", row " + std::to_string(i) +
                   ": not in the dictionary");
      }
      if (IsNull(values, *index)) {
        out->emplace_back();
        continue;
      }
      const Result<std::string_view> text = TextAt(schema.dictionary->format, values, *index);
      if (!text.ok()) return text.status();
      out->push_back(*text);
    }
    return absl::OkStatus();
  }
  if (std::string_view(schema.format) == "n") {
    out->resize(out->size() + static_cast<size_t>(count));
    return absl::OkStatus();
  }
  if (!IsText(schema.format)) {
    return Bad("column \"" + std::string(name) + "\" is not text (Arrow format \"" + schema.format +
               "\")");
  }
  for (int64_t i = begin; i < begin + count; ++i) {
    if (IsNull(array, i)) {
      out->emplace_back();
      continue;
    }
    const Result<std::string_view> text = TextAt(schema.format, array, i);
    if (!text.ok()) return text.status();
    out->push_back(*text);
  }
  return absl::OkStatus();
}

struct Table::Holder {
  ArrowSchema schema{};
  std::vector<ArrowArray> batches;

  Holder() = default;
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  ~Holder() {
    for (ArrowArray& batch : batches) {
      if (batch.release != nullptr) batch.release(&batch);
    }
    if (schema.release != nullptr) schema.release(&schema);
  }
};

Table::Table() : holder_(std::make_unique<Holder>()) {}
Table::Table(Table&&) noexcept = default;
Table& Table::operator=(Table&&) noexcept = default;
Table::~Table() = default;

Result<Table> Table::Read(ArrowArrayStream* stream) {
  struct Release {
    ArrowArrayStream* stream;
    ~Release() {
      if (stream->release != nullptr) stream->release(stream);
    }
  } const release{stream};
  const auto failed = [&](const char* doing) {
    const char* const why = stream->get_last_error(stream);
    return Bad(std::string("the Arrow stream failed while ") + doing + ": " +
               (why != nullptr ? why : "it does not say why"));
  };
  Table out;
  Holder& holder = *out.holder_;
  if (stream->get_schema(stream, &holder.schema) != 0) return failed("giving its schema");
  if (std::string_view(holder.schema.format) != "+s") return Bad("the Arrow stream is not a table");
  for (;;) {
    ArrowArray batch{};
    if (stream->get_next(stream, &batch) != 0) return failed("giving a batch");
    if (batch.release == nullptr) return out;
    holder.batches.push_back(batch);
    if (batch.length < 0 || batch.offset < 0 || batch.n_children != holder.schema.n_children) {
      return Bad("a batch does not fit the stream's schema");
    }
    for (int64_t c = 0; c < batch.n_children; ++c) {
      if (batch.children[c]->length < batch.offset + batch.length) {
        return Bad("a column is shorter than its batch");
      }
      if (Status status = CheckShape(*holder.schema.children[c], *batch.children[c],
                                     holder.schema.children[c]->name);
          !status.ok()) {
        return status;
      }
    }
    out.rows_ += static_cast<uint64_t>(batch.length);
  }
}

std::vector<std::string> Table::names() const {
  std::vector<std::string> out;
  for (int64_t c = 0; c < holder_->schema.n_children; ++c) {
    const char* const name = holder_->schema.children[c]->name;
    out.emplace_back(name == nullptr ? "" : name);
  }
  return out;
}

Result<size_t> Table::Find(std::string_view name) const {
  std::string known;
  for (int64_t c = 0; c < holder_->schema.n_children; ++c) {
    const char* const other = holder_->schema.children[c]->name;
    if (other != nullptr && name == other) return static_cast<size_t>(c);
    known += known.empty() ? "\"" : ", \"";
    known += other == nullptr ? "" : other;
    known += "\"";
  }
  return Bad("no column \"" + std::string(name) + "\"; there are " + known);
}

std::string Table::KindOf(std::string_view name) const {
  const Result<size_t> column = Find(name);
  if (!column.ok()) return "";
  const ArrowSchema& schema = *holder_->schema.children[*column];
  const std::string_view format = schema.format;
  if (schema.dictionary != nullptr) {
    return IsText(schema.dictionary->format) ? "text" : std::string(schema.dictionary->format);
  }
  if (TimestampUnit(format) != 0) return "time";
  if (IsInteger(format)) return "integer";
  if (format == "f" || format == "g") return "float";
  if (IsText(format) || format == "n") return "text";
  if (format == "+m") return "map";
  return std::string(format);
}

Result<std::vector<int64_t>> Table::Integers(std::string_view name, int64_t* unit_ns) const {
  const Result<size_t> column = Find(name);
  if (!column.ok()) return column.status();
  const ArrowSchema& schema = *holder_->schema.children[*column];
  *unit_ns = TimestampUnit(schema.format);
  if (schema.dictionary != nullptr || (*unit_ns == 0 && !IsInteger(schema.format))) {
    return Bad("column \"" + std::string(name) +
               "\" is neither timestamps nor integers (Arrow format \"" + schema.format + "\")");
  }
  const char type = *unit_ns != 0 ? 'l' : schema.format[0];
  std::vector<int64_t> out;
  out.reserve(rows_);
  for (const ArrowArray& batch : holder_->batches) {
    const ArrowArray& array = *batch.children[*column];
    for (int64_t i = batch.offset; i < batch.offset + batch.length; ++i) {
      if (IsNull(array, i)) {
        return Bad("column \"" + std::string(name) + "\", row " + std::to_string(out.size()) +
                   ": a time must not be null");
      }
      const Result<int64_t> value = IntegerAt(type, array, i);
      if (!value.ok()) return value.status();
      out.push_back(*value);
    }
  }
  return out;
}

Result<std::vector<double>> Table::Floats(std::string_view name) const {
  const Result<size_t> column = Find(name);
  if (!column.ok()) return column.status();
  const ArrowSchema& schema = *holder_->schema.children[*column];
  const std::string_view format = schema.format;
  const bool integer = IsInteger(format);
  const bool truth = format == "b";
  if (schema.dictionary != nullptr || !(integer || truth || format == "f" || format == "g")) {
    return Bad("column \"" + std::string(name) + "\" is not numbers (Arrow format \"" +
               std::string(format) + "\")");
  }
  std::vector<double> out;
  out.reserve(rows_);
  for (const ArrowArray& batch : holder_->batches) {
    const ArrowArray& array = *batch.children[*column];
    for (int64_t i = batch.offset; i < batch.offset + batch.length; ++i) {
      if (IsNull(array, i)) {
        out.push_back(std::numeric_limits<double>::quiet_NaN());
      } else if (truth) {
        const int64_t at = array.offset + i;
        out.push_back(ValueAt<uint8_t>(array.buffers[1], at / 8) >> (at % 8) & 1);
      } else if (format == "g") {
        out.push_back(ValueAt<double>(array.buffers[1], array.offset + i));
      } else if (format == "f") {
        out.push_back(ValueAt<float>(array.buffers[1], array.offset + i));
      } else {
        const Result<int64_t> value = IntegerAt(format[0], array, i);
        if (!value.ok()) return value.status();
        out.push_back(static_cast<double>(*value));
      }
    }
  }
  return out;
}

Result<std::vector<std::string_view>> Table::Texts(std::string_view name) const {
  const Result<size_t> column = Find(name);
  if (!column.ok()) return column.status();
  std::vector<std::string_view> out;
  out.reserve(rows_);
  for (const ArrowArray& batch : holder_->batches) {
    if (Status status = AppendTexts(*holder_->schema.children[*column], *batch.children[*column],
                                    name, batch.offset, batch.length, &out);
        !status.ok()) {
      return status;
    }
  }
  return out;
}

Result<Table::Maps> Table::TextMaps(std::string_view name) const {
  const Result<size_t> column = Find(name);
  if (!column.ok()) return column.status();
  const ArrowSchema& schema = *holder_->schema.children[*column];
  if (std::string_view(schema.format) != "+m" || schema.n_children != 1 ||
      schema.children[0]->n_children != 2) {
    return Bad("column \"" + std::string(name) + "\" is not a map (Arrow format \"" +
               schema.format + "\")");
  }
  const ArrowSchema& entry_schema = *schema.children[0];
  Maps out;
  for (const ArrowArray& batch : holder_->batches) {
    const ArrowArray& array = *batch.children[*column];
    const ArrowArray& entries = *array.children[0];
    if (Status status = CheckShape(entry_schema, entries, name); !status.ok()) return status;
    std::vector<std::string_view> keys;
    std::vector<std::string_view> values;
    for (int64_t i = batch.offset; i < batch.offset + batch.length; ++i) {
      if (!IsNull(array, i)) {
        const auto begin = ValueAt<int32_t>(array.buffers[1], array.offset + i);
        const auto end = ValueAt<int32_t>(array.buffers[1], array.offset + i + 1);
        if (begin < 0 || end < begin || end > entries.length) {
          return Bad("column \"" + std::string(name) + "\": map offsets out of bounds");
        }
        keys.clear();
        values.clear();
        for (size_t child = 0; child < 2; ++child) {
          const ArrowArray& texts = *entries.children[child];
          if (texts.length < entries.offset + end) return Bad("a map's entries are too short");
          if (Status status =
                  AppendTexts(*entry_schema.children[child], texts, name, entries.offset + begin,
                              end - begin, child == 0 ? &keys : &values);
              !status.ok()) {
            return status;
          }
        }
        for (size_t e = 0; e < keys.size(); ++e) out.entries.push_back({keys[e], values[e]});
      }
      out.begin.push_back(out.entries.size());
    }
  }
  return out;
}

Result<Table::RawColumn> Table::Raw(std::string_view name) const {
  const Result<size_t> column = Find(name);
  if (!column.ok()) return column.status();
  RawColumn out;
  out.schema = holder_->schema.children[*column];
  for (const ArrowArray& batch : holder_->batches) {
    out.parts.push_back({batch.children[*column], batch.offset, batch.offset + batch.length});
  }
  return out;
}

}  // namespace varve::arrow
