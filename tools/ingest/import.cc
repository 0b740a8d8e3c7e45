#include "tools/ingest/import.h"

#include <algorithm>
#include <charconv>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/compression.h"
#include "tools/ingest/exposition_batch.h"
#include "tools/ingest/http_status.h"
#include "tools/ingest/importers.h"
#include "tools/ingest/scratch.h"

namespace varve::ingest {
namespace {

/// What the query parameters say.
struct ImportParameters {
  int64_t time_ms = 0;
  std::vector<LabelView> extra_labels;  // views into the request; sorted, unique
};

Result<ImportParameters> ParseParameters(const ImportRequest& request, int64_t now_ms) {
  ImportParameters out;
  out.time_ms = now_ms;
  for (const auto& [name, value] : request.query) {
    if (name == "timestamp") {
      const char* const end = value.data() + value.size();
      const auto parsed = std::from_chars(value.data(), end, out.time_ms);
      if (value.empty() || parsed.ec != std::errc() || parsed.ptr != end) {
        return MakeStatus(StatusCode::kInvalidArgument,
                          Concat("parameter timestamp: ", GoQuote(value),
                                 " is not a number of Unix milliseconds"));
      }
    } else if (name == "extra_label") {
      const std::string_view text = value;
      const size_t equal = text.find('=');
      if (equal == 0 || equal == std::string_view::npos || !IsValidUtf8(text)) {
        return MakeStatus(StatusCode::kInvalidArgument,
                          Concat("parameter extra_label: ", GoQuote(value), " is not name=value"));
      }
      const LabelView label{text.substr(0, equal), text.substr(equal + 1)};
      std::erase_if(out.extra_labels,
                    [&](const LabelView& other) { return other.name == label.name; });
      out.extra_labels.push_back(label);
    }
  }
  std::sort(out.extra_labels.begin(), out.extra_labels.end());
  return out;
}

/// Merges two sorted label lists into `out`; where names agree `winner` stands. An empty value
/// removes the label.
void MergeLabels(LabelsView labels, const std::vector<LabelView>& winner,
                 std::vector<LabelView>* out) {
  out->clear();
  size_t i = 0;
  for (const LabelView& label : labels) {
    while (i < winner.size() && winner[i].name < label.name) {
      if (!winner[i].value.empty()) out->push_back(winner[i]);
      ++i;
    }
    if (i < winner.size() && winner[i].name == label.name) {
      if (!winner[i].value.empty()) out->push_back(winner[i]);
      ++i;
    } else {
      out->push_back(label);
    }
  }
  for (; i < winner.size(); ++i) {
    if (!winner[i].value.empty()) out->push_back(winner[i]);
  }
}

std::string PlaceText(uint32_t line, size_t row) {
  return line != 0 ? Concat("line ", line) : Concat("sample ", row);
}

class ErrorList {
 public:
  explicit ErrorList(size_t shown_max) : shown_max_(shown_max) {}
  void Add(std::string_view text) {
    ++count_;
    if (count_ > shown_max_) return;
    if (!text_.empty()) text_.push_back('\n');
    text_ += text;
  }
  void Count(uint64_t more) { count_ += more; }
  bool empty() const { return count_ == 0; }
  std::string Text() const {
    if (count_ <= shown_max_) return text_;
    return Concat(text_, "\n... and ", count_ - shown_max_, " more errors");
  }

 private:
  const size_t shown_max_;
  size_t count_ = 0;
  std::string text_;
};

HttpOutcome Handle(IngestContext& context, const ImportRequest& request) {
  const Result<ExpositionFormat> format = ParseExpositionContentType(request.content_type);
  if (!format.ok()) return ErrorOutcome(415, ToStd(format.status().message()));
  const Result<BodyEncoding> encoding = ParseContentEncoding(request.content_encoding);
  if (!encoding.ok()) return ErrorOutcome(415, ToStd(encoding.status().message()));
  const Result<ImportParameters> parameters = ParseParameters(request, context.NowMs());
  if (!parameters.ok()) return ErrorOutcome(400, ToStd(parameters.status().message()));
  IngestContext::Loan scratch(context);
  const Result<std::string_view> body =
      DecodeBody(*encoding, request.body, context.options().decoded_bytes_max, &scratch->decoded);
  if (!body.ok()) return OutcomeOfBodyError(body.status());
  IngestCounters& counters = context.counters();
  counters.bytes_decoded += body->size();

  WriteOptions options;
  options.durability = context.options().durability;
  options.partial = true;
  options.rejections_max = context.options().errors_max;
  for (bool use_cache : {true, false}) {
    ErrorList errors(context.options().errors_max);
    ExpositionBatch rows(context, &scratch->batch, use_cache);
    const auto parser = ExpositionParser::Make(*format, *body);
    ExpositionItem item;
    for (;;) {
      const Result<bool> more = parser->Next(&item);
      if (!more.ok()) return OutcomeOfStoreError(more.status());
      if (!*more) break;
      if (item.kind != ExpositionItem::Kind::kSample &&
          item.kind != ExpositionItem::Kind::kHistogram) {
        rows.AddMetadata(item);
        continue;
      }
      LabelsView labels = item.labels;
      if (!parameters->extra_labels.empty()) {
        MergeLabels(item.labels, parameters->extra_labels, &scratch->labels);
        labels = scratch->labels;
      }
      if (!rows.AddRow(item, labels, parameters->time_ms)) {
        errors.Add(Concat(PlaceText(item.place.line, rows.rows().size()),
                          ": out of bounds: timestamp ", item.time_ms.value_or(parameters->time_ms),
                          " is too far in the future"));
      }
    }
    rows.Finish();
    AppendResult result;
    if (!scratch->batch.empty()) {
      Result<AppendResult> appended = context.database().Append(scratch->batch, options);
      if (!appended.ok()) return OutcomeOfStoreError(appended.status());
      result = std::move(appended).value();
    }
    if (result.stale_refs) {
      ++counters.stale_ref_retries;
      continue;
    }
    rows.Remember(result);
    counters.samples += result.samples;
    counters.histograms += result.histograms;
    counters.exemplars += result.exemplars;
    counters.exemplars_rejected += result.exemplars_rejected;
    counters.rows_rejected += result.rejected;
    uint64_t described = 0;
    for (const Rejection& rejection : result.rejections) {
      if (rejection.row == Rejection::Row::kExemplar) continue;
      ++described;
      const uint32_t line =
          rejection.series < rows.rows().size() ? rows.rows()[rejection.series].line : 0;
      std::string text =
          Concat(PlaceText(line, rejection.series), ": ", ToString(rejection.reason));
      if (!rejection.detail.empty()) text += Concat(": ", rejection.detail);
      errors.Add(Concat(text, " (timestamp ", rejection.time_ms, ")"));
    }
    if (result.rejected > described) errors.Count(result.rejected - described);
    HttpOutcome outcome;
    if (!errors.empty()) outcome = ErrorOutcome(400, errors.Text());
    outcome.headers.emplace_back("X-Varve-Samples-Written",
                                 std::to_string(result.samples + result.histograms));
    return outcome;
  }
  return OutcomeOfStoreError(
      MakeStatus(StatusCode::kInternal, "references were stale in a batch that has none"));
}

HttpOutcome LoadSeries(IngestContext& context, const ImportRequest& request) {
  const Result<BodyEncoding> encoding = ParseContentEncoding(request.content_encoding);
  if (!encoding.ok()) return ErrorOutcome(415, ToStd(encoding.status().message()));
  IngestContext::Loan scratch(context);
  const Result<std::string_view> body =
      DecodeBody(*encoding, request.body, context.options().decoded_bytes_max, &scratch->decoded);
  if (!body.ok()) return OutcomeOfBodyError(body.status());
  IngestCounters& counters = context.counters();
  counters.bytes_decoded += body->size();
  const auto loader = context.database().StartBulkLoad();
  if (!loader.ok()) return OutcomeOfStoreError(loader.status());
  ImportSummary summary;
  Status status = ImportSeriesText(*body, loader->get(), &summary);
  if (status.ok() && summary.max_time_ms > context.NewestTimeMs()) {
    status = MakeStatus(StatusCode::kOutOfRange,
                        Concat("the time ", summary.max_time_ms, " is too far in the future"));
  }
  if (status.ok() && summary.samples > 0) status = (*loader)->Finish();
  if (!status.ok()) return OutcomeOfStoreError(status);
  counters.samples += summary.samples;
  HttpOutcome outcome;
  outcome.headers.emplace_back("X-Varve-Samples-Written", std::to_string(summary.samples));
  return outcome;
}

// Counts a request and what became of it.
template <typename Work>
HttpOutcome Counted(IngestContext& context, const ImportRequest& request, const Work& work) {
  IngestCounters& counters = context.counters();
  ++counters.requests;
  counters.bytes_received += request.body.size();
  HttpOutcome outcome = work(context, request);
  if (outcome.status >= 400) ++counters.requests_failed;
  return outcome;
}

}  // namespace

HttpOutcome HandleImportPrometheus(IngestContext& context, const ImportRequest& request) {
  return Counted(context, request, Handle);
}

HttpOutcome HandleImportSeries(IngestContext& context, const ImportRequest& request) {
  return Counted(context, request, LoadSeries);
}

// --- Scrapes ---

struct ScrapeTarget::State {
  struct Known {
    Labels labels;
    uint64_t scrape = 0;  // the last one that had the series
  };

  State(IngestContext& context_in, Labels labels)
      : context(context_in), target(std::move(labels)) {}

  /// Puts the target's labels on a scraped series: its own labels of these names move aside.
  LabelsView WithTarget(LabelsView labels) {
    renamed.clear();
    merged.clear();
    for (const LabelView& label : labels) {
      if (FindLabel(target, label.name).empty()) {
        merged.push_back(label);
        continue;
      }
      std::string name = Concat("exported_", label.name);
      while (!FindLabel(labels, name).empty() || !FindLabel(target, name).empty()) {
        name = Concat("exported_", name);
      }
      renamed.push_back(std::make_unique<std::string>(std::move(name)));
      merged.push_back({*renamed.back(), label.value});
    }
    merged.insert(merged.end(), target.begin(), target.end());
    std::sort(merged.begin(), merged.end());
    return merged;
  }

  void AddAutomatic(std::string_view name, int64_t time_ms, double value, WriteBatch* batch) {
    merged.assign(target.begin(), target.end());
    merged.push_back({kMetricName, name});
    std::sort(merged.begin(), merged.end());
    batch->AddSample(batch->AddSeries(LabelsView(merged)), time_ms, value);
  }

  void AddReport(int64_t time_ms, std::chrono::nanoseconds duration, bool up, uint64_t scraped,
                 uint64_t kept, uint64_t added, WriteBatch* batch) {
    AddAutomatic("up", time_ms, up ? 1 : 0, batch);
    AddAutomatic("scrape_duration_seconds", time_ms,
                 std::chrono::duration<double>(duration).count(), batch);
    AddAutomatic("scrape_samples_scraped", time_ms, static_cast<double>(scraped), batch);
    AddAutomatic("scrape_samples_post_metric_relabeling", time_ms, static_cast<double>(kept),
                 batch);
    AddAutomatic("scrape_series_added", time_ms, static_cast<double>(added), batch);
  }

  /// Adds stale markers for series that scrape number `scrape` did not have, and forgets them.
  void AddVanished(int64_t time_ms, WriteBatch* batch) {
    absl::erase_if(known, [&](const auto& entry) {
      if (entry.second.scrape == scrape) return false;
      batch->AddSample(batch->AddSeries(entry.second.labels.view()), time_ms, StaleNan());
      return true;
    });
  }

  Status Write(const WriteBatch& batch) {
    WriteOptions options;
    options.durability = context.options().durability;
    options.partial = true;
    const Result<AppendResult> result = context.database().Append(batch, options);
    if (!result.ok()) return result.status();
    IngestCounters& counters = context.counters();
    counters.samples += result->samples;
    counters.histograms += result->histograms;
    counters.exemplars += result->exemplars;
    counters.exemplars_rejected += result->exemplars_rejected;
    counters.rows_rejected += result->rejected;
    return absl::OkStatus();
  }

  IngestContext& context;
  const Labels target;
  uint64_t scrape = 0;
  absl::flat_hash_map<SeriesKey, Known, SeriesKeyHash> known;
  std::vector<LabelView> merged;
  std::vector<std::unique_ptr<std::string>> renamed;
};

ScrapeTarget::ScrapeTarget(IngestContext& context, Labels labels)
    : state_(std::make_unique<State>(context, std::move(labels))) {}
ScrapeTarget::~ScrapeTarget() = default;

Status ScrapeTarget::Append(int64_t time_ms, std::chrono::nanoseconds duration,
                            std::string_view content_type, std::string_view body) {
  State& s = *state_;
  IngestContext::Loan scratch(s.context);
  const auto fail = [&](const Status& status) {
    const Status written = AppendFailure(time_ms, duration);
    return written.ok() ? status : written;
  };
  const Result<ExpositionFormat> format = ParseExpositionContentType(content_type);
  if (!format.ok()) return fail(format.status());
  ++s.scrape;
  uint64_t scraped = 0;
  ExpositionBatch rows(s.context, &scratch->batch, false);
  const auto parser = ExpositionParser::Make(*format, body);
  ExpositionItem item;
  std::vector<SeriesKey> begun;  // series that this scrape is the first to have
  for (;;) {
    const Result<bool> more = parser->Next(&item);
    if (!more.ok()) {
      // Nothing of this scrape counts, so what it began is undone; the rest then ends as it does
      // when a target does not answer.
      for (const SeriesKey& key : begun) s.known.erase(key);
      return fail(more.status());
    }
    if (!*more) break;
    if (item.kind != ExpositionItem::Kind::kSample &&
        item.kind != ExpositionItem::Kind::kHistogram) {
      rows.AddMetadata(item);
      continue;
    }
    ++scraped;
    const LabelsView labels = s.WithTarget(item.labels);
    if (!rows.AddRow(item, labels, time_ms)) continue;
    // A series that carries its own timestamps says itself when it ends.
    if (item.time_ms) continue;
    const SeriesKey key = KeyOf(labels);
    const auto [at, fresh] = s.known.try_emplace(key);
    if (fresh) {
      at->second.labels = Labels(labels);
      begun.push_back(key);
    }
    at->second.scrape = s.scrape;
  }
  rows.Finish();
  s.AddVanished(time_ms, &scratch->batch);
  s.AddReport(time_ms, duration, true, scraped, scraped, begun.size(), &scratch->batch);
  return s.Write(scratch->batch);
}

Status ScrapeTarget::AppendFailure(int64_t time_ms, std::chrono::nanoseconds duration) {
  State& s = *state_;
  ++s.scrape;
  WriteBatch batch;
  s.AddVanished(time_ms, &batch);
  s.AddReport(time_ms, duration, false, 0, 0, 0, &batch);
  return s.Write(batch);
}

Status ScrapeTarget::AppendEnd(int64_t time_ms) {
  State& s = *state_;
  ++s.scrape;
  WriteBatch batch;
  s.AddVanished(time_ms, &batch);
  for (const std::string_view name :
       {"up", "scrape_duration_seconds", "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling", "scrape_series_added"}) {
    s.AddAutomatic(name, time_ms, StaleNan(), &batch);
  }
  return s.Write(batch);
}

}  // namespace varve::ingest
