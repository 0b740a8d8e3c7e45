#include "bindings/core/histograms.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "bindings/core/array_reader.h"
#include "varve/histogram_buckets.h"

namespace varve::bindings {
namespace {

using arrow::ValueAt;

constexpr std::string_view kHints[] = {"unknown", "reset", "not_reset", "gauge"};

std::string_view NameOf(const ArrowSchema& schema) {
  return schema.name == nullptr ? std::string_view() : schema.name;
}
bool IsNumber(std::string_view format) {
  return format == "g" || format == "f" || arrow::IsInteger(format);
}
bool IsList(std::string_view format) {
  return format == "+l" || format == "+L" || format.starts_with("+w:");
}

// Reads a column of histograms, array by array. The types are judged once; what an array says of
// its children, for every row that is read.
class Reader {
 public:
  explicit Reader(std::string_view column) : column_(column) {}

  Status Bind(const ArrowSchema& schema) {
    schema_ = &schema;
    if (std::string_view(schema.format) != "+s") {
      return Bad("is not histograms (Arrow format \"" + std::string(schema.format) + "\")");
    }
    const auto number = [](const ArrowSchema& type) { return IsNumber(type.format); };
    const auto list = [](const ArrowSchema& type) {
      return IsList(type.format) && type.n_children == 1;
    };
    const auto text = [](const ArrowSchema&) { return true; };  // AppendTexts says what is wrong
    for (int64_t i = 0; i < schema.n_children; ++i) {
      const ArrowSchema& child = *schema.children[i];
      // A field of which every row is null has no type of its own (Arrow's "n").
      if (std::string_view(child.format) == "n") continue;
      bool good = true;
      if (NameOf(child) == "count") good = Take(i, number(child), &count_);
      if (NameOf(child) == "sum") good = Take(i, number(child), &sum_);
      if (NameOf(child) == "buckets") good = Take(i, list(child), &buckets_);
      if (NameOf(child) == "schema")
        good = Take(i, arrow::IsInteger(child.format), &schema_number_);
      if (NameOf(child) == "zero_threshold") good = Take(i, number(child), &threshold_);
      if (NameOf(child) == "custom_values") good = Take(i, list(child), &bounds_);
      if (NameOf(child) == "reset_hint") good = Take(i, text(child), &hint_);
      if (!good) {
        return Bad("holds a \"" + std::string(NameOf(child)) + "\" of Arrow format \"" +
                   child.format + "\"");
      }
    }
    if (count_ < 0 || sum_ < 0) return Bad("is structs without \"count\" and \"sum\"");
    if (bounds_ >= 0 && !IsNumber(ItemOf(bounds_).format)) return Bad("holds bounds of no numbers");
    if (buckets_ < 0) return absl::OkStatus();
    const ArrowSchema& item = ItemOf(buckets_);
    const std::string_view format = item.format;
    if (format == "+s") {
      constexpr std::string_view kNames[] = {"lower", "upper", "count"};
      for (int64_t i = 0; i < item.n_children; ++i) {
        for (size_t part = 0; part < std::size(kNames); ++part) {
          const ArrowSchema& child = *item.children[i];
          if (NameOf(child) == kNames[part] && IsNumber(child.format)) parts_[part] = i;
        }
      }
      if (parts_[0] >= 0 && parts_[1] >= 0 && parts_[2] >= 0) return absl::OkStatus();
    } else if (IsList(format) && item.n_children == 1 && IsNumber(item.children[0]->format)) {
      return absl::OkStatus();
    } else if (format == "n") {  // no row has a bucket
      return absl::OkStatus();
    }
    return Bad("holds buckets that are not of lower, upper and count");
  }

  // Appends the histograms of rows [begin, end) of an array of the bound type.
  Status Read(const ArrowArray& array, int64_t begin, int64_t end,
              std::vector<query::HistogramPtr>* out) {
    if (Status status = CheckTree(*schema_, array); !status.ok()) return status;
    for (int64_t i = begin; i < end; ++i) {
      row_ = out->size();
      if (arrow::IsNull(array, i)) {
        out->push_back(nullptr);
        continue;
      }
      Result<query::HistogramPtr> histogram = ReadRow(array, array.offset + i);
      if (!histogram.ok()) return histogram.status();
      out->push_back(*std::move(histogram));
    }
    return absl::OkStatus();
  }

 private:
  static bool Take(int64_t index, bool fits, int64_t* field) {
    *field = index;
    return fits;
  }
  const ArrowSchema& ItemOf(int64_t field) const { return *schema_->children[field]->children[0]; }

  Status Bad(const std::string& what) const {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "column \"" + std::string(column_) + "\" " + what);
  }
  Status BadRow(const std::string& what) const {
    return MakeStatus(
        StatusCode::kInvalidArgument,
        "column \"" + std::string(column_) + "\", row " + std::to_string(row_) + ": " + what);
  }

  // The types here nest at most four deep: a struct, a list, an item, its numbers.
  Status CheckTree(const ArrowSchema& schema, const ArrowArray& array, int depth = 0) const {
    if (Status status = arrow::CheckShape(schema, array, column_); !status.ok()) return status;
    if (depth == 4) return absl::OkStatus();
    for (int64_t i = 0; i < array.n_children; ++i) {
      if (array.children[i] == nullptr) return Bad("has an array without a child");
      if (Status status = CheckTree(*schema.children[i], *array.children[i], depth + 1);
          !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

  // Gives the number at `row` of an array; nulls are no numbers.
  Result<double> NumberAt(const ArrowSchema& schema, const ArrowArray& array, int64_t row) const {
    if (row >= array.length) return BadRow("an array is shorter than what refers to it");
    if (arrow::IsNull(array, row)) {
      return BadRow("\"" + std::string(NameOf(schema)) + "\" must not be null");
    }
    const std::string_view format = schema.format;
    if (format == "g") return ValueAt<double>(array.buffers[1], array.offset + row);
    if (format == "f") {
      return static_cast<double>(ValueAt<float>(array.buffers[1], array.offset + row));
    }
    const Result<int64_t> value = arrow::IntegerAt(format[0], array, row);
    if (!value.ok()) return BadRow(std::string(value.status().message()));
    return static_cast<double>(*value);
  }

  // Gives the rows of the child that the list at `row` holds; a null is empty.
  Result<std::pair<int64_t, int64_t>> ListAt(const ArrowSchema& schema, const ArrowArray& array,
                                             int64_t row) const {
    if (row >= array.length) return BadRow("an array is shorter than what refers to it");
    if (arrow::IsNull(array, row)) return std::pair<int64_t, int64_t>{0, 0};
    const std::string_view format = schema.format;
    const int64_t at = array.offset + row;
    int64_t begin = 0;
    int64_t end = 0;
    if (format == "+l") {
      begin = ValueAt<int32_t>(array.buffers[1], at);
      end = ValueAt<int32_t>(array.buffers[1], at + 1);
    } else if (format == "+L") {
      begin = ValueAt<int64_t>(array.buffers[1], at);
      end = ValueAt<int64_t>(array.buffers[1], at + 1);
    } else {
      const int64_t width = std::atoll(schema.format + 3);
      if (width < 0 || width > (1 << 20)) return BadRow("a list of a bad width");
      begin = at * width;
      end = begin + width;
    }
    if (begin < 0 || end < begin || end > array.children[0]->length) {
      return BadRow("list offsets out of bounds");
    }
    return std::pair<int64_t, int64_t>{begin, end};
  }

  Result<query::HistogramBucket> BucketAt(const ArrowSchema& schema, const ArrowArray& array,
                                          int64_t row) const {
    std::array<double, 3> parts{};
    if (std::string_view(schema.format) == "+s") {
      for (size_t i = 0; i < parts.size(); ++i) {
        // A struct's offset comes on top of its children's.
        Result<double> part =
            NumberAt(*schema.children[parts_[i]], *array.children[parts_[i]], array.offset + row);
        if (!part.ok()) return part.status();
        parts[i] = *part;
      }
    } else {
      const auto items = ListAt(schema, array, row);
      if (!items.ok()) return items.status();
      if (items->second - items->first != 3) {
        return BadRow("a bucket must be lower, upper and count");
      }
      for (size_t i = 0; i < parts.size(); ++i) {
        Result<double> part = NumberAt(*schema.children[0], *array.children[0],
                                       items->first + static_cast<int64_t>(i));
        if (!part.ok()) return part.status();
        parts[i] = *part;
      }
    }
    return query::HistogramBucket{parts[0], parts[1], query::HistogramBucket::Rule::kOpenLeft,
                                  parts[2]};
  }

  // Whether field `index` of the struct is there and not null at `row` of the children.
  bool HasField(const ArrowArray& array, int64_t index, int64_t row) const {
    return index >= 0 && row < array.children[index]->length &&
           !arrow::IsNull(*array.children[index], row);
  }

  Result<query::HistogramPtr> ReadRow(const ArrowArray& array, int64_t row) {
    const auto number = [&](int64_t field) {
      return NumberAt(*schema_->children[field], *array.children[field], row);
    };
    const Result<double> count = number(count_);
    if (!count.ok()) return count.status();
    const Result<double> sum = number(sum_);
    if (!sum.ok()) return sum.status();
    query::HistogramShape shape;
    shape.has_rules = false;
    if (HasField(array, schema_number_, row)) {
      const Result<double> value = number(schema_number_);
      if (!value.ok()) return value.status();
      shape.schema = static_cast<int32_t>(std::max(-1000.0, std::min(1000.0, *value)));
    }
    if (HasField(array, threshold_, row)) {
      const Result<double> value = number(threshold_);
      if (!value.ok()) return value.status();
      shape.zero_threshold = *value;
    }
    if (bounds_ >= 0) {
      const ArrowArray& child = *array.children[bounds_];
      const auto items = ListAt(*schema_->children[bounds_], child, row);
      if (!items.ok()) return items.status();
      for (int64_t i = items->first; i < items->second; ++i) {
        const Result<double> bound = NumberAt(ItemOf(bounds_), *child.children[0], i);
        if (!bound.ok()) return bound.status();
        shape.custom_values.push_back(*bound);
      }
    }
    if (HasField(array, hint_, row)) {
      texts_.clear();
      if (Status status = arrow::AppendTexts(*schema_->children[hint_], *array.children[hint_],
                                             column_, row, 1, &texts_);
          !status.ok()) {
        return status;
      }
      const auto hint = ResetHintOf(texts_[0]);
      if (!hint.has_value()) {
        return BadRow("\"" + std::string(texts_[0]) + "\" is not a reset hint");
      }
      shape.reset_hint = *hint;
    }
    std::vector<query::HistogramBucket> buckets;
    if (buckets_ >= 0) {
      const ArrowArray& child = *array.children[buckets_];
      const auto items = ListAt(*schema_->children[buckets_], child, row);
      if (!items.ok()) return items.status();
      for (int64_t i = items->first; i < items->second; ++i) {
        const auto bucket = BucketAt(ItemOf(buckets_), *child.children[0], i);
        if (!bucket.ok()) return bucket.status();
        buckets.push_back(*bucket);
      }
    }
    Result<query::FloatHistogram> out = query::HistogramOfBuckets(*count, *sum, buckets, shape);
    if (!out.ok()) return BadRow(std::string(out.status().message()));
    return std::make_shared<const query::FloatHistogram>(*std::move(out));
  }

  const std::string_view column_;
  const ArrowSchema* schema_ = nullptr;
  size_t row_ = 0;  // for errors
  // Which child is what; -1: none.
  int64_t count_ = -1;
  int64_t sum_ = -1;
  int64_t buckets_ = -1;
  int64_t schema_number_ = -1;
  int64_t threshold_ = -1;
  int64_t bounds_ = -1;
  int64_t hint_ = -1;
  std::array<int64_t, 3> parts_{-1, -1, -1};  // of a bucket: lower, upper, count
  std::vector<std::string_view> texts_;
};

}  // namespace

std::string_view ToString(CounterResetHint hint) { return kHints[static_cast<size_t>(hint)]; }

std::optional<CounterResetHint> ResetHintOf(std::string_view name) {
  for (size_t i = 0; i < std::size(kHints); ++i) {
    if (kHints[i] == name) return static_cast<CounterResetHint>(i);
  }
  return std::nullopt;
}

arrow::Field HistogramField() {
  using namespace arrow;  // NOLINT(google-build-using-namespace): a type, spelled out
  return Nullable(Struct(
      "histogram",
      {Float64("count"), Float64("sum"),
       List("buckets", Struct("item", {Float64("lower"), Float64("upper"), Float64("count")})),
       Int32("schema"), Float64("zero_threshold"), List("custom_values", Float64("item")),
       Utf8("reset_hint")}));
}

arrow::ArrayPtr HistogramColumn(const std::vector<query::HistogramPtr>& histograms) {
  static const query::FloatHistogram kNone;
  const auto rows = static_cast<int64_t>(histograms.size());
  std::vector<bool> valid;
  std::vector<double> counts, sums, thresholds, lower, upper, bucket_counts, bounds;
  std::vector<int32_t> schemas;
  std::vector<int32_t> offsets{0};
  std::vector<int32_t> bound_offsets{0};
  arrow::TextBuilder hints;
  auto out = std::make_shared<arrow::Array>();
  for (const query::HistogramPtr& histogram : histograms) {
    const query::FloatHistogram& h = histogram != nullptr ? *histogram : kNone;
    valid.push_back(histogram != nullptr);
    out->null_count += histogram == nullptr;
    counts.push_back(h.count);
    sums.push_back(h.sum);
    for (const query::HistogramBucket& bucket : h.Buckets()) {
      lower.push_back(bucket.lower);
      upper.push_back(bucket.upper);
      bucket_counts.push_back(bucket.count);
    }
    offsets.push_back(static_cast<int32_t>(lower.size()));
    schemas.push_back(h.schema);
    thresholds.push_back(h.zero_threshold);
    bounds.insert(bounds.end(), h.custom_values.begin(), h.custom_values.end());
    bound_offsets.push_back(static_cast<int32_t>(bounds.size()));
    hints.Append(ToString(h.reset_hint));
  }
  const auto list_of = [rows](std::vector<int32_t> ends, arrow::ArrayPtr items) {
    auto list = std::make_shared<arrow::Array>();
    list->length = rows;
    list->buffers = {arrow::Buffer{}, arrow::MakeBuffer(std::move(ends))};
    list->children = {std::move(items)};
    return list;
  };
  auto item = std::make_shared<arrow::Array>();
  item->length = static_cast<int64_t>(lower.size());
  item->buffers.resize(1);
  item->children = {arrow::Fixed(std::move(lower)), arrow::Fixed(std::move(upper)),
                    arrow::Fixed(std::move(bucket_counts))};
  out->length = rows;
  out->buffers = {out->null_count == 0 ? arrow::Buffer{} : arrow::MakeValidity(valid)};
  out->children = {arrow::Fixed(std::move(counts)),
                   arrow::Fixed(std::move(sums)),
                   list_of(std::move(offsets), std::move(item)),
                   arrow::Fixed(std::move(schemas)),
                   arrow::Fixed(std::move(thresholds)),
                   list_of(std::move(bound_offsets), arrow::Fixed(std::move(bounds))),
                   hints.Finish()};
  return out;
}

Result<Histograms> ReadHistograms(const arrow::Table& table, std::string_view name) {
  const Result<arrow::Table::RawColumn> column = table.Raw(name);
  if (!column.ok()) return column.status();
  Histograms out;
  if (std::string_view(column->schema->format) == "n") {
    out.rows.resize(table.rows());
    return out;
  }
  Reader reader(name);
  if (Status status = reader.Bind(*column->schema); !status.ok()) return status;
  for (const arrow::Table::RawColumn::Part& part : column->parts) {
    if (Status status = reader.Read(*part.array, part.begin, part.end, &out.rows); !status.ok()) {
      return status;
    }
  }
  return out;
}

size_t StoredBytes(const Histogram& histogram) {
  return 64 + 10 * (histogram.positive_deltas.size() + histogram.negative_deltas.size() +
                    histogram.positive_counts.size() + histogram.negative_counts.size() +
                    histogram.positive_spans.size() + histogram.negative_spans.size() +
                    histogram.custom_values.size());
}

Result<Histogram> ToStored(const query::FloatHistogram& histogram) {
  Histogram out = query::ToSample(histogram);
  if (Status status = Validate(out); !status.ok()) return status;
  return out;
}

}  // namespace varve::bindings
