// Calls the C API in whatever order the input says, with handles that are NULL, texts that are NULL
// or claim sizes that they do not have, numbers from all over, and results and streams that outlive
// their database. Whatever the order: no crash, no leak, an error says what is wrong, and what a
// stream hands out fits its schema.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/c/include/varve.h"

namespace {

void Expect(bool condition) {
  if (!condition) std::abort();
}

// Texts that get further than noise does.
constexpr const char* kTexts[] = {"",
                                  "a",
                                  "app",
                                  "__name__",
                                  "up",
                                  "service.name",
                                  "shop",
                                  "counter",
                                  "up{app=\"a\"}",
                                  "sum by (app) (rate(up[5m]))",
                                  "{app=~\".+\"}",
                                  "{app=~\".+\"} |= \"a\"",
                                  "{app=~\".+\"} | json | line_format \"{{.app}}\"",
                                  "sum by (app) (count_over_time({app=~\".+\"}[1m]))",
                                  "rate({app=~\".+\"}[1s]) / 0",
                                  "{ }",
                                  "{ span.a = 1 || name = \"a\" } | by(name) | count() > 0",
                                  "{ } | rate() by (name)",
                                  "{ } >> { kind = server }",
                                  "histogram_quantile(2, up)",
                                  "(((",
                                  "up[1h:1ms]",
                                  "\"text\"",
                                  "vector(1) / 0"};

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t Byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  uint32_t Number() {
    uint32_t out = 0;
    for (int i = 0; i < 4; ++i) out = out << 8 | Byte();
    return out;
  }
  // A count: small, nothing, or absurd.
  size_t Count(size_t small, bool* absurd) {
    const uint8_t byte = Byte();
    *absurd = byte >= 250;
    if (*absurd)
      return byte == 255 ? std::numeric_limits<size_t>::max() : size_t{1} << (byte - 218);
    return byte % (small + 1);
  }
  // A time: small, near `around`, or an extreme.
  int64_t Time(int64_t around) {
    const uint8_t byte = Byte();
    switch (byte % 8) {
      case 0:
        return std::numeric_limits<int64_t>::min();
      case 1:
        return std::numeric_limits<int64_t>::max();
      case 2:
        return static_cast<int64_t>(Number()) - 1000;
      case 3:
        return static_cast<int64_t>(uint64_t{Number()} << 32 | Number());
      default:
        return around + (byte - 128) * int64_t{1000};
    }
  }
  const uint8_t* Take(size_t size, size_t* taken) {
    *taken = std::min(size, left_);
    const uint8_t* const out = data_;
    data_ += *taken;
    left_ -= *taken;
    return out;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

struct Text {
  const char* data = nullptr;
  size_t size = 0;
};

class Session {
 public:
  Session(const uint8_t* data, size_t size) : input_(data, size) {
    static const std::string root = [] {
      std::string name = (std::filesystem::temp_directory_path() / "varve_c_fuzz_XXXXXX").string();
      Expect(mkdtemp(name.data()) != nullptr);
      static std::string kept = name;
      std::atexit([] { std::filesystem::remove_all(kept); });
      return name;
    }();
    dir_ = root + "/data";
    std::filesystem::remove_all(dir_);
  }

  ~Session() {
    // In either order: what came from a database outlives it.
    const bool close_first = (input_.Byte() & 1) != 0;
    if (close_first) Close();
    for (varve_result* result : results_) varve_result_free(result);
    for (ArrowArrayStream& stream : streams_) {
      if (stream.release != nullptr) stream.release(&stream);
    }
    if (!close_first) Close();
    varve_batch_free(samples_);
    varve_log_batch_free(logs_);
    varve_span_batch_free(spans_);
    varve_cancellation_free(cancellation_);
    std::filesystem::remove_all(dir_);
  }

  void Run() {
    for (int calls = 0; calls < 60 && !input_.empty(); ++calls) {
      kept_.clear();
      Call(input_.Byte() % 26);
    }
  }

 private:
  static constexpr int64_t kNow = 1'700'000'000'000;
  static constexpr int64_t kNowNs = kNow * 1'000'000;

  // Checks what a call reported: an error exactly where it failed, with a message.
  bool Check(varve_code code) {
    varve_error* const error = std::exchange(error_, nullptr);
    Expect((code == VARVE_OK) == (error == nullptr));
    Expect(code != VARVE_INTERNAL);
    if (error != nullptr) {
      Expect(varve_error_code(error) == code);
      Expect(varve_error_message(error)[0] != '\0');
      Expect(varve_error_rendered(error)[0] != '\0');
      Expect((varve_error_line(error) == 0) == (varve_error_column(error) == 0));
      varve_error_free(error);
    }
    return code == VARVE_OK;
  }

  varve_database* Database() { return input_.Byte() % 16 == 0 ? nullptr : database_; }

  void Close() {
    Check(varve_close(database_, &error_));
    database_ = nullptr;
  }

  // Bytes in a block of their own, so that a byte read too many is seen.
  Text Bytes(bool terminated) {
    const uint8_t byte = input_.Byte();
    if (byte == 255) return {nullptr, 0};
    if (byte == 254) return {nullptr, 5};
    size_t taken = 0;
    const uint8_t* const data = input_.Take(byte % 24, &taken);
    auto block = std::make_unique<char[]>(taken + (terminated ? 1 : 0));
    if (taken > 0) std::memcpy(block.get(), data, taken);
    Text out{block.get(), taken};
    if (terminated) block[taken] = '\0';
    kept_.push_back(std::move(block));
    // A claim that no record could hold must be refused unread.
    if (byte == 253) out.size = std::numeric_limits<size_t>::max();
    if (byte == 252) out.size = (size_t{64} << 20) + 1;
    return out;
  }

  Text AnyText() {
    const uint8_t byte = input_.Byte();
    if (byte % 3 != 0) return {kTexts[byte / 3 % std::size(kTexts)], 0};
    return Bytes(true);
  }
  const char* CString() { return AnyText().data; }

  template <typename T>
  T* Block(std::vector<T> items) {
    const size_t bytes = items.size() * sizeof(T);
    auto block = std::make_unique<char[]>(bytes);
    if (bytes > 0) std::memcpy(block.get(), items.data(), bytes);
    T* const out = reinterpret_cast<T*>(block.get());
    kept_.push_back(std::move(block));
    return out;
  }

  // Fills an array of up to `most` items; sometimes its count is absurd or its pointer NULL.
  template <typename T, typename Make>
  const T* Array(size_t most, size_t* count, const Make& make) {
    bool absurd = false;
    *count = input_.Count(most, &absurd);
    std::vector<T> items;
    for (size_t i = 0; !absurd && i < *count; ++i) items.push_back(make());
    if (input_.Byte() == 255) return nullptr;
    return Block(std::move(items));
  }

  const varve_label* Labels(size_t* count) {
    return Array<varve_label>(4, count, [&] {
      const Text name = AnyText();
      const Text value = AnyText();
      return varve_label{name.data, value.data, name.size, value.size};
    });
  }

  const varve_attribute* Attributes(size_t* count, int depth) {
    return Array<varve_attribute>(depth > 6 ? 0 : 3, count, [&] {
      varve_attribute out{};
      const Text key = AnyText();
      out.key = key.data;
      out.key_size = key.size;
      const uint8_t type = input_.Byte();
      out.type = type % 10;
      out.integer = input_.Time(0);
      out.number = static_cast<double>(out.integer);
      if (out.type == VARVE_TEXT || out.type == VARVE_BYTES) {
        const Text text = Bytes(out.type == VARVE_TEXT);
        out.text = text.data;
        out.text_size = text.size;
      }
      if (out.type == VARVE_ARRAY || out.type == VARVE_MAP) {
        out.items = Attributes(&out.items_count, depth + 1);
      }
      return out;
    });
  }

  varve_span Span() {
    varve_span out{};
    const uint8_t ids = input_.Byte();
    out.trace_id[0] = ids % 4;
    out.span_id[0] = ids / 4 % 8;
    out.parent_id[0] = ids / 32;
    const Text name = AnyText();
    out.name = name.data;
    out.name_size = name.size;
    out.kind = input_.Byte() % 8;
    out.status = input_.Byte() % 4;
    out.start_ns = input_.Time(kNowNs);
    out.end_ns = input_.Time(out.start_ns / 2);
    out.attributes = Attributes(&out.attributes_count, 0);
    out.events = Array<varve_span_event>(2, &out.events_count, [&] {
      varve_span_event event{};
      event.time_ns = input_.Time(kNowNs);
      const Text text = AnyText();
      event.name = text.data;
      event.name_size = text.size;
      event.attributes = Attributes(&event.attributes_count, 4);
      return event;
    });
    out.links = Array<varve_span_link>(1, &out.links_count, [&] {
      varve_span_link link{};
      link.trace_id[0] = input_.Byte();
      link.attributes = Attributes(&link.attributes_count, 4);
      return link;
    });
    return out;
  }

  varve_query_options Options() {
    varve_query_options out = VARVE_QUERY_OPTIONS_INIT;
    out.timeout_ms = 100;
    out.samples_max = 100'000;
    const uint8_t byte = input_.Byte();
    out.analyze = byte & 1;
    out.forward = byte >> 1 & 1;
    if ((byte & 4) != 0) out.limit = input_.Number();
    if ((byte & 8) != 0) out.spans_per_trace = input_.Number();
    if ((byte & 16) != 0) out.cursor = CString();
    if ((byte & 32) != 0) out.cancellation = cancellation_;
    if ((byte & 192) == 192) out.lookback_ms = input_.Time(0);
    if (byte == 255) out.struct_size = input_.Number();
    return out;
  }

  void Keep(varve_code code) {
    varve_result* const result = std::exchange(result_, nullptr);
    if (!Check(code)) return;
    Expect(result != nullptr);
    LookAt(result);
    results_.push_back(result);
  }

  void LookAt(varve_result* result) {
    const varve_kind kind = varve_result_kind(result);
    Expect(kind >= VARVE_SCALAR && kind <= VARVE_TRACES);
    const size_t count = varve_result_series_count(result);
    uint64_t rows = 0;
    for (size_t i = 0; i <= count; ++i) {
      varve_series series;
      const bool found = Check(varve_result_series(result, i, &series, &error_));
      Expect(found == (i < count));
      if (!found) continue;
      rows += series.count;
      for (size_t l = 0; l < series.labels_count; ++l) {
        Expect(series.labels[l].name[series.labels[l].name_size] == '\0');
        Expect(series.labels[l].value[series.labels[l].value_size] == '\0');
      }
    }
    if (kind == VARVE_VECTOR || kind == VARVE_MATRIX) Expect(rows == varve_result_rows(result));
    for (size_t i = 0; i < varve_result_notes_count(result); ++i) {
      Expect(varve_result_note(result, i) != nullptr);
    }
    varve_result_analysis(result);
    varve_result_next(result);
    varve_result_text(result);
  }

  void KeepStream(varve_code code) {
    if (Check(code)) streams_.push_back(stream_);
  }

  void KeepList(varve_code code) {
    varve_list* const list = std::exchange(list_, nullptr);
    if (!Check(code)) return;
    for (size_t i = 0; i < varve_list_count(list); ++i) {
      size_t size = 0;
      Expect(varve_list_at(list, i, &size)[size] == '\0');
    }
    Expect(varve_list_at(list, varve_list_count(list), nullptr) == nullptr);
    varve_list_free(list);
  }

  // Takes one batch out of a stream, if it still has one.
  void Pull() {
    if (streams_.empty()) return;
    ArrowArrayStream& stream = streams_[input_.Byte() % streams_.size()];
    if (stream.release == nullptr) return;
    ArrowSchema schema;
    Expect(stream.get_schema(&stream, &schema) == 0);
    ArrowArray array;
    if (stream.get_next(&stream, &array) == 0) {
      if (array.release != nullptr) {
        Expect(array.n_children == schema.n_children && array.length > 0);
        for (int64_t c = 0; c < array.n_children; ++c) {
          Expect(array.children[c]->length == array.length);
        }
        array.release(&array);
      }
    } else {
      Expect(stream.get_last_error(&stream) != nullptr);
    }
    schema.release(&schema);
  }

  void Call(int what) {
    uint32_t number = 0;
    size_t count = 0;
    switch (what) {
      case 0:
      case 1: {  // twice, so that sequences tend to have a database
        if (database_ != nullptr) break;
        varve_options options = VARVE_OPTIONS_INIT;
        options.durability = VARVE_PROCESS_CRASH;
        options.query_threads = 1;
        options.query_memory_bytes_max = 64u << 20;
        const uint8_t byte = input_.Byte();
        if (byte % 16 == 1) options.read_only = 1;
        if (byte % 16 == 2) options.create_if_missing = 0;
        if (byte % 16 == 3) options.out_of_order_window_ms = input_.Time(0);
        if (byte % 16 == 4) options.struct_size = input_.Number();
        if (byte % 16 == 5) options.query_threads = input_.Number();
        if (options.query_threads > 4 && options.query_threads <= 1024) options.query_threads = 4;
        Check(varve_open(byte % 16 == 6 ? nullptr : dir_.c_str(), &options, &database_, &error_));
        break;
      }
      case 2:
        Close();
        break;
      case 3:
        if (samples_ == nullptr) samples_ = varve_batch_new();
        if (logs_ == nullptr) logs_ = varve_log_batch_new();
        if (spans_ == nullptr) spans_ = varve_span_batch_new();
        if (cancellation_ == nullptr) cancellation_ = varve_cancellation_new();
        break;
      case 4: {
        const varve_label* const labels = Labels(&count);
        Check(varve_batch_add_series(samples_, labels, count, &number, &error_));
        break;
      }
      case 5: {
        std::vector<int64_t> times;
        std::vector<double> values;
        for (int i = input_.Byte() % 4; i > 0; --i) {
          times.push_back(input_.Time(kNow));
          values.push_back(static_cast<double>(input_.Time(0)));
        }
        const bool absurd = input_.Byte() == 255;
        const uint32_t series = input_.Byte() % 4;
        Check(varve_batch_add_samples(samples_, series, times.data(), values.data(),
                                      absurd ? std::numeric_limits<size_t>::max() : times.size(),
                                      &error_));
        break;
      }
      case 6: {
        const char* const family = CString();
        const char* const type = CString();
        Check(varve_batch_add_metadata(samples_, family, type, CString(), nullptr, &error_));
        break;
      }
      case 7: {
        varve_write_options options = VARVE_WRITE_OPTIONS_INIT;
        options.partial = input_.Byte() & 1;
        varve_append_counts counts{};
        Check(varve_append(Database(), samples_, &options, &counts, &error_));
        break;
      }
      case 8: {
        const varve_label* const labels = Labels(&count);
        Check(varve_log_batch_add_stream(logs_, labels, count, &number, &error_));
        break;
      }
      case 9: {
        const uint32_t to = input_.Byte() % 4;
        const auto* const entries = Array<varve_log_entry>(4, &count, [&] {
          varve_log_entry out{};
          out.time_ns = input_.Time(kNowNs);
          const Text line = Bytes(false);
          out.line = line.data;
          out.line_size = line.size;
          out.metadata = Labels(&out.metadata_count);
          return out;
        });
        const size_t stride = input_.Byte() == 255 ? 7 : sizeof(varve_log_entry);
        Check(varve_log_batch_add_entries(logs_, to, entries, stride, count, &error_));
        break;
      }
      case 10: {
        varve_write_options options = VARVE_WRITE_OPTIONS_INIT;
        options.partial = input_.Byte() & 1;
        Check(varve_append_logs(Database(), logs_, &options, nullptr, &error_));
        break;
      }
      case 11: {
        const varve_attribute* const attributes = Attributes(&count, 0);
        Check(varve_span_batch_add_resource(spans_, attributes, count, CString(), nullptr, &number,
                                            &error_));
        break;
      }
      case 12: {
        const uint32_t resource = input_.Byte() % 3;
        const auto* const spans = Array<varve_span>(3, &count, [&] { return Span(); });
        const size_t stride = input_.Byte() == 255 ? 9 : sizeof(varve_span);
        Check(varve_span_batch_add_spans(spans_, resource, spans, stride, count, &error_));
        break;
      }
      case 13: {
        varve_write_options options = VARVE_WRITE_OPTIONS_INIT;
        options.partial = input_.Byte() & 1;
        Check(varve_append_spans(Database(), spans_, &options, nullptr, &error_));
        break;
      }
      case 14: {
        const varve_query_options options = Options();
        const char* const query = CString();
        Keep(varve_promql(Database(), query, input_.Time(kNow), &options, &result_, &error_));
        break;
      }
      case 15: {
        const varve_query_options options = Options();
        const char* const query = CString();
        const int64_t start = input_.Time(kNow);
        const int64_t end = input_.Time(kNow);
        Keep(varve_promql_range(Database(), query, start, end, input_.Time(1000), &options,
                                &result_, &error_));
        break;
      }
      case 16: {
        const varve_query_options options = Options();
        const char* const query = CString();
        Keep(varve_logql(Database(), query, input_.Time(kNowNs), &options, &result_, &error_));
        break;
      }
      case 17: {
        const varve_query_options options = Options();
        const char* const query = CString();
        const int64_t start = input_.Time(kNowNs);
        const int64_t end = input_.Time(kNowNs);
        Keep(varve_logql_range(Database(), query, start, end, input_.Time(1'000'000'000), &options,
                               &result_, &error_));
        break;
      }
      case 18: {
        const varve_query_options options = Options();
        const char* const query = CString();
        const int64_t start = input_.Time(kNowNs);
        const int64_t end = input_.Time(kNowNs);
        const int64_t step = (input_.Byte() & 1) != 0 ? 0 : input_.Time(0) / 1'000'000 * 1'000'000;
        Keep(varve_traceql(Database(), query, start, end, step, &options, &result_, &error_));
        break;
      }
      case 19: {
        char* plan = nullptr;
        const char* const query = CString();
        const uint8_t language = input_.Byte() % 3;
        const varve_code code =
            language == 0   ? varve_logql_explain(Database(), query, &plan, &error_)
            : language == 1 ? varve_traceql_explain(Database(), query, &plan, &error_)
                            : varve_promql_explain(Database(), query, kNow, input_.Time(kNow),
                                                   input_.Time(1000), &plan, &error_);
        Check(code);
        varve_string_free(plan);
        break;
      }
      case 20: {
        const uint8_t kind = input_.Byte() % 5;
        const char* const text = CString();
        const int64_t start = input_.Time(kind == 0 ? kNow : kNowNs);
        const int64_t end = input_.Time(kind == 0 ? kNow : kNowNs);
        uint8_t id[16] = {input_.Byte()};
        varve_result* const of =
            results_.empty() ? nullptr : results_[input_.Byte() % results_.size()];
        const varve_code code =
            kind == 0 ? varve_samples_arrow_stream(Database(), text, start, end, &stream_, &error_)
            : kind == 1
                ? varve_log_entries_arrow_stream(Database(), text, start, end, &stream_, &error_)
            : kind == 2 ? varve_spans_arrow_stream(Database(), text, start, end, &stream_, &error_)
            : kind == 3 ? varve_trace_arrow_stream(Database(), id, &stream_, &error_)
                        : varve_result_arrow_stream(of, &stream_, &error_);
        KeepStream(code);
        break;
      }
      case 21:
        Pull();
        break;
      case 22: {  // a stream goes back in, whatever it is of
        if (streams_.empty()) break;
        ArrowArrayStream& from = streams_[input_.Byte() % streams_.size()];
        varve_database* const to = Database();
        const uint8_t kind = input_.Byte() % 3;
        Check(kind == 0   ? varve_append_logs_arrow(to, &from, nullptr, nullptr, &error_)
              : kind == 1 ? varve_append_spans_arrow(to, &from, nullptr, nullptr, &error_)
                          : varve_append_samples_arrow(to, &from, nullptr, nullptr, &error_));
        Expect(from.release == nullptr);
        break;
      }
      case 23: {
        const uint8_t kind = input_.Byte() % 5;
        const char* const text = CString();
        const int64_t start = input_.Time(kNow);
        const int64_t end = input_.Time(kNow);
        const varve_code code =
            kind == 0 ? varve_label_names(Database(), text, start, end, &list_, &error_)
            : kind == 1
                ? varve_label_values(Database(), CString(), text, start, end, &list_, &error_)
            : kind == 2 ? varve_series_list(Database(), text, start, end, &list_, &error_)
            : kind == 3 ? varve_services(Database(), &list_, &error_)
                        : varve_verify(Database(), &list_, &error_);
        KeepList(code);
        break;
      }
      case 24: {
        const uint8_t kind = input_.Byte() % 5;
        const char* const text = CString();
        const int64_t start = input_.Time(kNow);
        const int64_t end = input_.Time(kNow);
        Check(kind == 0   ? varve_delete_series(Database(), text, start, end, &error_)
              : kind == 1 ? varve_delete_logs(Database(), text, start, end, &error_)
              : kind == 2 ? varve_sync(Database(), &error_)
              : kind == 3 ? varve_flush(Database(), &error_)
                          : varve_compact(Database(), &error_));
        break;
      }
      default: {
        const uint8_t byte = input_.Byte();
        if (byte % 4 == 0) varve_batch_clear(samples_);
        if (byte % 4 == 1) varve_log_batch_clear(logs_);
        if (byte % 4 == 2) varve_span_batch_clear(spans_);
        if (byte % 4 == 3 && byte > 200) varve_cancellation_cancel(cancellation_);
      }
    }
  }

  Input input_;
  std::string dir_;
  varve_database* database_ = nullptr;
  varve_batch* samples_ = nullptr;
  varve_log_batch* logs_ = nullptr;
  varve_span_batch* spans_ = nullptr;
  varve_cancellation* cancellation_ = nullptr;
  // What the call that runs gives: its arguments have no order, so they are read afterwards.
  varve_error* error_ = nullptr;
  varve_result* result_ = nullptr;
  varve_list* list_ = nullptr;
  ArrowArrayStream stream_{};
  std::vector<varve_result*> results_;
  std::vector<ArrowArrayStream> streams_;
  std::vector<std::unique_ptr<char[]>> kept_;  // arguments of the call that runs
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Session(data, size).Run();
  return 0;
}
