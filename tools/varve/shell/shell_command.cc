#include <fcntl.h>
#include <histedit.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/strings.h"
#include "tools/server/api/parameters.h"
#include "tools/varve/commands.h"
#include "tools/varve/shell/complete.h"
#include "tools/varve/shell/render.h"
#include "tools/varve/shell/render_json.h"
#include "tools/varve/shell/render_wings.h"
#include "tools/varve/shell/source.h"
#include "varve/selector.h"

namespace varve::cli {
namespace {

using shell::Look;
using shell::Source;

constexpr std::string_view kHelp =
    "A line is a query, or one of these. A line that ends with \\ goes on in "
    "the next one.\n"
    "  .range LENGTH [STEP]   evaluate over the last LENGTH (.range 1h 30s); "
    ".range off: at one "
    "time\n"
    "  .at TIME               take TIME for now: RFC 3339, Unix seconds, -1h; "
    ".at now undoes it\n"
    "  .mode MODE             table, csv, json or chart\n"
    "  .explain QUERY         print the plan, run nothing\n"
    "  .analyze QUERY         run it and print what each operator did\n"
    "  .stats on|off          do so after every query\n"
    "  .metrics [TEXT]        list metric names, those that contain TEXT\n"
    "  .labels                list label names\n"
    "  .values LABEL          list the values of a label\n"
    "  .lang LANGUAGE         promql, logql or traceql: how queries are read\n"
    "  .limit N               entries of a log query, traces of a search "
    "(100)\n"
    "  .trace ID              draw a trace\n"
    "  .stats                 describe the store\n"
    "  .help, .quit\n"
    "Tab completes; Ctrl-C stops a query or drops a line; Ctrl-D leaves.\n";

// What Ctrl-C cancels; set while a query runs. A handler may only touch
// lock-free atomics.
std::atomic<query::Cancellation*> running_query{nullptr};
// Else it puts a byte here, which ReadCharacter finds, however long before the signal came: reading
// alone would miss one that comes between the prompt and the read. [0] is read from.
int interrupts[2] = {-1, -1};
void OnInterrupt(int) {
  if (query::Cancellation* const query = running_query.load()) {
    query->Cancel();
    return;
  }
  const int error = errno;
  if (write(interrupts[1], "", 1) < 0) errno = error;  // full: it is known already
}

// Reads a character of the terminal for libedit, as its own reader does; -1 with EINTR after a
// Ctrl-C.
int ReadCharacter(EditLine*, wchar_t* out) {
  std::mbstate_t state{};
  for (;;) {
    pollfd ready[2] = {{STDIN_FILENO, POLLIN, 0}, {interrupts[0], POLLIN, 0}};
    if (poll(ready, 2, -1) < 0) {
      if (errno == EINTR) continue;  // also of a window that changes its size
      return -1;
    }
    if (ready[1].revents != 0) {
      char bytes[64];
      while (read(interrupts[0], bytes, sizeof(bytes)) > 0) continue;
      errno = EINTR;
      return -1;
    }
    char byte;
    const ssize_t got = read(STDIN_FILENO, &byte, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return static_cast<int>(got);
    const size_t used = std::mbrtowc(out, &byte, 1, &state);
    if (used == static_cast<size_t>(-2)) continue;  // the character goes on
    if (used != static_cast<size_t>(-1)) return 1;
    state = {};  // no character of this locale: dropped
  }
}

class Shell {
 public:
  Shell(std::unique_ptr<Source> source, bool terminal)
      : source_(std::move(source)), terminal_(terminal) {
    look_.color = terminal_ && std::getenv("NO_COLOR") == nullptr;
    if (!terminal_) look_.width = 0;
  }

  int RunTerminal();
  int RunScript(std::istream& in);

  Source& source() { return *source_; }
  shell::Language language() const { return language_; }
  const char* prompt() const {
    if (!pending_.empty()) return "  ...> ";
    return language_ == shell::Language::kPromQl  ? "varve> "
           : language_ == shell::Language::kLogQl ? "logql> "
                                                  : "traceql> ";
  }

 private:
  enum class Mode : uint8_t { kTable, kCsv, kJson, kChart };

  /// Takes one line; false ends the shell.
  bool Take(std::string line);
  bool Command(const std::string& line);
  void Query(const std::string& text, bool analyze);
  void Explain(const std::string& text);
  Result<std::string> AskLogs(const std::string& text, int64_t end_ms, bool analyze,
                              const std::shared_ptr<query::Cancellation>& cancellation);
  Result<std::string> AskTraces(const std::string& text, int64_t end_ms, bool analyze,
                                const std::shared_ptr<query::Cancellation>& cancellation);
  Result<std::string> Render(query::QueryResult result);
  void Show(const std::string& text) const;
  void Error(std::string_view message);
  void FailQuery(const std::string& text, const Status& status);
  Result<int64_t> Now() const;
  Result<query::QueryRange> Range() const;

  const std::unique_ptr<Source> source_;
  const bool terminal_;
  mutable Look look_;
  Mode mode_ = Mode::kTable;
  shell::Language language_ = shell::Language::kPromQl;
  uint32_t limit_ = 100;
  bool stats_ = false;
  std::string at_ = "now";
  std::chrono::milliseconds length_{0};  // 0: instant queries
  std::chrono::milliseconds step_{0};    // 0: chosen by length
  std::string pending_;                  // lines that ended with a backslash
  bool failed_ = false;
};

Result<int64_t> Shell::Now() const {
  const int64_t now = Clock::Real()->NowMs();
  if (at_ == "now") return now;
  if (at_.size() > 1 && at_.front() == '-' && at_.back() >= 'a' && at_.back() <= 'z') {
    const auto before = api::ParseDuration(at_.substr(1));
    if (!before.ok()) return before.status();
    return now - before->count();
  }
  return api::ParseTime(at_);
}

Result<query::QueryRange> Shell::Range() const {
  const Result<int64_t> now = Now();
  if (!now.ok()) return now.status();
  query::QueryRange out;
  out.end_ms = *now;
  out.start_ms = *now - length_.count();
  out.step_ms = step_.count() > 0 ? step_.count()
                                  : std::max<int64_t>(1000, length_.count() / 120 / 1000 * 1000);
  if (length_.count() == 0) out.step_ms = 0;  // at one time
  return out;
}

void Shell::Error(std::string_view message) {
  failed_ = true;
  std::cout << std::flush;
  std::cerr << (look_.color ? "\x1b[31m" : "") << "error: " << message
            << (look_.color ? "\x1b[0m" : "") << "\n";
}

void Shell::FailQuery(const std::string& text, const Status& status) {
  // The query's own line is printed as it is, so that the caret stands under
  // its place.
  Error(query::RenderError(text, status));
}

// Prints through the pager what is longer than the screen.
void Shell::Show(const std::string& text) const {
  const auto lines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  winsize size{};
  if (terminal_ && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 &&
      lines + 1 > size.ws_row) {
    const char* const pager = std::getenv("PAGER");
    std::cout << std::flush;
    if (FILE* const pipe = popen(pager != nullptr && *pager != 0 ? pager : "less -FRX", "w")) {
      std::fwrite(text.data(), 1, text.size(), pipe);
      if (pclose(pipe) == 0) return;
    }
  }
  std::cout << text << std::flush;
}

void Shell::Query(const std::string& text, bool analyze) {
  const Result<query::QueryRange> range = Range();
  if (!range.ok()) return Error(ToStd(range.status().message()));
  winsize size{};
  if (terminal_ && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    look_.width = size.ws_col;
  }
  const auto cancellation = std::make_shared<query::Cancellation>();
  const auto begun = std::chrono::steady_clock::now();
  running_query.store(cancellation.get());
  if (language_ != shell::Language::kPromQl) {
    const Result<std::string> shown = [&] {
      const Spinner spinner("running (Ctrl-C stops it)");
      return language_ == shell::Language::kLogQl
                 ? AskLogs(text, range->end_ms, analyze || stats_, cancellation)
                 : AskTraces(text, range->end_ms, analyze || stats_, cancellation);
    }();
    running_query.store(nullptr);
    if (!shown.ok()) return FailQuery(text, shown.status());
    return Show(*shown);
  }
  Result<query::QueryResult> result = [&] {
    const Spinner spinner("running (Ctrl-C stops it)");
    return length_.count() > 0 ? source_->Range(text, *range, cancellation)
                               : source_->Instant(text, range->end_ms, cancellation);
  }();
  running_query.store(nullptr);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  if (!result.ok()) return FailQuery(text, result.status());
  const std::string analysis = query::Engine::FormatAnalysis(result->statistics);
  size_t series = 1;
  if (const auto* vector = std::get_if<query::Vector>(&result->value)) series = vector->size();
  if (const auto* matrix = std::get_if<query::Matrix>(&result->value)) series = matrix->size();
  Result<std::string> rendered = Render(*std::move(result));
  if (!rendered.ok()) return Error(ToStd(rendered.status().message()));
  std::string out = *std::move(rendered);
  if (analyze || stats_) out += analysis;
  if (terminal_ && mode_ != Mode::kJson && mode_ != Mode::kCsv) {
    char took[64];
    std::snprintf(took, sizeof(took), "%zu series, %.0f ms\n", series, seconds * 1000);
    out += look_.color ? Concat("\x1b[2m", took, "\x1b[0m") : took;
  }
  Show(out);
}

Result<std::string> Shell::Render(query::QueryResult result) {
  switch (mode_) {
    case Mode::kTable:
      return shell::RenderTable(result, look_);
    case Mode::kCsv:
      return shell::RenderCsv(result);
    case Mode::kChart:
      return shell::RenderChart(result, look_);
    case Mode::kJson:
      break;
  }
  return shell::RenderJson(std::move(result));
}

// Logs and traces are asked for the last hour unless .range says otherwise.
Result<std::string> Shell::AskLogs(const std::string& text, int64_t end_ms, bool analyze,
                                   const std::shared_ptr<query::Cancellation>& cancellation) {
  const auto info = query::InspectLogQuery(text);
  if (!info.ok()) return info.status();
  const int64_t length_ms = length_.count() > 0 ? length_.count() : 3'600'000;
  query::LogQueryRange range;
  range.end_ns = end_ms * 1'000'000;
  range.start_ns = (end_ms - length_ms) * 1'000'000;
  range.step_ns = step_.count() * 1'000'000;
  range.limit = limit_;
  const bool instant = !info->is_log_query && length_.count() == 0;
  Result<query::LogQueryResult> found = source_->LogQl(text, range, instant, cancellation);
  if (!found.ok()) return found.status();
  const std::string analysis = query::LogEngine::FormatAnalysis(found->statistics);
  Result<std::string> out = [&]() -> Result<std::string> {
    const auto* const streams = std::get_if<query::Streams>(&found->value);
    if (streams == nullptr) return Render(shell::MetricsOf(*std::move(found)));
    if (mode_ == Mode::kJson) return shell::RenderLogsJson(*std::move(found), true);
    if (mode_ == Mode::kCsv) return shell::RenderLogsCsv(*streams, true);
    return shell::RenderLogs(*streams, true, look_);
  }();
  if (out.ok() && analyze) *out += analysis;
  return out;
}

Result<std::string> Shell::AskTraces(const std::string& text, int64_t end_ms, bool analyze,
                                     const std::shared_ptr<query::Cancellation>& cancellation) {
  const int64_t length_ms = length_.count() > 0 ? length_.count() : 3'600'000;
  const NsRange range{(end_ms - length_ms) * 1'000'000, end_ms * 1'000'000};
  const int64_t step_ms = length_.count() == 0 ? 0
                          : step_.count() > 0
                              ? step_.count()
                              : std::max<int64_t>(1000, length_ms / 120 / 1000 * 1000);
  Result<Source::TraceAnswer> found = source_->TraceQl(text, range, step_ms, limit_, cancellation);
  if (!found.ok()) return found.status();
  if (auto* metrics = std::get_if<query::QueryResult>(&*found)) {
    const std::string analysis = query::Engine::FormatAnalysis(metrics->statistics);
    Result<std::string> out = Render(std::move(*metrics));
    if (out.ok() && analyze) *out += analysis;
    return out;
  }
  const auto& traces = std::get<query::SearchResult>(*found);
  std::string out = mode_ == Mode::kJson  ? shell::RenderTracesJson(traces)
                    : mode_ == Mode::kCsv ? shell::RenderTracesCsv(traces)
                                          : shell::RenderTraces(traces, look_);
  if (analyze) out += shell::RenderAnalysis(traces.stats);
  return out;
}

// Plans need no data: this program makes them, also for a server.
void Shell::Explain(const std::string& text) {
  const Result<query::QueryRange> range = Range();
  if (!range.ok()) return Error(ToStd(range.status().message()));
  const Result<std::string> plan =
      language_ == shell::Language::kLogQl     ? query::LogEngine::Make({})->Explain(text)
      : language_ == shell::Language::kTraceQl ? query::TraceEngine::Make({})->Explain(text)
                                               : query::Engine::Make({})->Explain(text, *range);
  if (!plan.ok()) return FailQuery(text, plan.status());
  Show(*plan);
}

bool Shell::Command(const std::string& line) {
  std::istringstream words(line);
  std::string command;
  words >> command;
  std::string rest;
  std::getline(words >> std::ws, rest);
  while (!rest.empty() && rest.back() == ' ') rest.pop_back();
  const auto list = [&](const std::vector<std::string>& items, std::string_view part) {
    std::string out;
    for (const std::string& item : items) {
      if (item.find(part) != std::string::npos) out += shell::Printable(item) + "\n";
    }
    Show(out.empty() ? "none\n" : out);
  };
  if (command == ".quit" || command == ".exit") return false;
  if (command == ".help") {
    Show(std::string(kHelp));
  } else if (command == ".mode") {
    if (rest == "table") {
      mode_ = Mode::kTable;
    } else if (rest == "csv") {
      mode_ = Mode::kCsv;
    } else if (rest == "json") {
      mode_ = Mode::kJson;
    } else if (rest == "chart") {
      mode_ = Mode::kChart;
    } else {
      Error(".mode takes table, csv, json or chart");
    }
  } else if (command == ".lang") {
    if (rest == "promql") {
      language_ = shell::Language::kPromQl;
    } else if (rest == "logql") {
      language_ = shell::Language::kLogQl;
    } else if (rest == "traceql") {
      language_ = shell::Language::kTraceQl;
    } else {
      Error(".lang takes promql, logql or traceql");
    }
  } else if (command == ".limit") {
    const unsigned long limit = std::strtoul(rest.c_str(), nullptr, 10);
    if (limit < 1 || limit > 5000) {
      Error(".limit takes a number from 1 to 5000");
    } else {
      limit_ = static_cast<uint32_t>(limit);
    }
  } else if (command == ".trace") {
    const std::optional<TraceId> id = ParseTraceId(rest);
    if (!id.has_value()) {
      Error(".trace takes a trace id of up to 32 hex digits");
      return true;
    }
    const Result<SpanBatch> spans = source_->Trace(*id);
    if (!spans.ok()) {
      Error(ToStd(spans.status().message()));
    } else {
      Show(shell::RenderWaterfall(*spans, look_));
    }
  } else if (command == ".at") {
    const std::string before = std::exchange(at_, rest.empty() ? "now" : rest);
    if (const Result<int64_t> now = Now(); !now.ok()) {
      at_ = before;
      Error(ToStd(now.status().message()));
    }
  } else if (command == ".range") {
    if (rest == "off") {
      length_ = step_ = std::chrono::milliseconds(0);
      return true;
    }
    const size_t blank = rest.find(' ');
    const auto length = api::ParseDuration(rest.substr(0, blank));
    const auto step = blank == std::string::npos
                          ? Result<std::chrono::milliseconds>(std::chrono::milliseconds(0))
                          : api::ParseDuration(rest.substr(rest.find_first_not_of(' ', blank)));
    if (!length.ok() || length->count() <= 0 || !step.ok() || step->count() < 0) {
      Error(".range takes a length and a step, such as 1h 30s, or off");
    } else {
      length_ = *length;
      step_ = *step;
    }
  } else if (command == ".stats" || command == ".timer") {
    if (rest == "on" || rest == "off") {
      stats_ = rest == "on";
    } else {
      Show(source_->Describe() + "\n");
    }
  } else if (command == ".explain") {
    Explain(rest);
  } else if (command == ".analyze") {
    Query(rest, true);
  } else if (command == ".metrics") {
    list(source_->LabelValues(std::string(kMetricName)), rest);
  } else if (command == ".labels") {
    list(source_->LabelNames(), rest);
  } else if (command == ".values") {
    list(source_->LabelValues(rest), "");
  } else {
    Error(Concat("no command ", command, "; .help lists them"));
  }
  return true;
}

bool Shell::Take(std::string line) {
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  if (!line.empty() && line.back() == '\\') {
    line.back() = '\n';
    pending_ += line;
    return true;
  }
  line = std::exchange(pending_, "") + line;
  const size_t first = line.find_first_not_of(" \t\n");
  if (first == std::string::npos || line[first] == '#') return true;
  if (line[first] == '.' && (first + 1 == line.size() || !std::isdigit(line[first + 1]))) {
    return Command(line.substr(first));
  }
  Query(line, false);
  return true;
}

int Shell::RunScript(std::istream& in) {
  std::string line;
  while (std::getline(in, line) && Take(line)) {
  }
  return failed_ ? kFailed : kOk;
}

Shell* ShellOf(EditLine* editor) {
  void* data = nullptr;
  el_get(editor, EL_CLIENTDATA, &data);
  return static_cast<Shell*>(data);
}

const char* PromptOf(EditLine* editor) { return ShellOf(editor)->prompt(); }

unsigned char CompleteKey(EditLine* editor, int) {
  const LineInfo* const info = el_line(editor);
  const std::string line(info->buffer, info->cursor);
  const shell::Completion found =
      shell::Complete(line, ShellOf(editor)->language(), ShellOf(editor)->source());
  if (found.words.empty()) return CC_REFRESH_BEEP;
  const std::string prefix = shell::CommonPrefix(found.words);
  const size_t typed = line.size() - found.begin;
  if (prefix.size() > typed || (found.words.size() == 1 && prefix.size() == typed)) {
    const std::string more =
        prefix.substr(typed) +
        (found.words.size() == 1 && line.starts_with(".") && found.begin == 0 ? " " : "");
    if (el_insertstr(editor, more.c_str()) == -1) return CC_REFRESH_BEEP;
    return CC_REFRESH;
  }
  winsize size{};
  const size_t width =
      ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  size_t column = 0;
  for (const std::string& word : found.words) column = std::max(column, shell::WidthOf(word) + 2);
  const size_t columns = std::max<size_t>(1, width / column);
  constexpr size_t kShownMax = 200;
  std::cout << "\n";
  for (size_t i = 0; i < std::min(found.words.size(), kShownMax); ++i) {
    const std::string word = shell::Printable(found.words[i]);
    std::cout << word;
    if ((i + 1) % columns == 0 || i + 1 == found.words.size()) {
      std::cout << "\n";
    } else {
      std::cout << std::string(column - shell::WidthOf(word), ' ');
    }
  }
  if (found.words.size() > kShownMax) {
    std::cout << "\n... and " << found.words.size() - kShownMax << " more\n";
  }
  std::cout << std::flush;
  return CC_REDISPLAY;
}

// Where history is kept; empty: nowhere.
std::string HistoryFile() {
  if (const char* const named = std::getenv("VARVE_HISTORY")) return named;
  const char* const home = std::getenv("HOME");
  return home == nullptr || *home == 0 ? "" : std::string(home) + "/.varve_history";
}

int Shell::RunTerminal() {
  std::setlocale(LC_CTYPE, "");
  if (pipe2(interrupts, O_CLOEXEC | O_NONBLOCK) != 0) {
    return Fail(Concat("a pipe for Ctrl-C: ", std::strerror(errno)));
  }
  struct sigaction action{};
  action.sa_handler = &OnInterrupt;
  sigaction(SIGINT, &action, nullptr);
  std::cout << source_->Describe() << "\n.help lists the commands, Tab completes.\n" << std::flush;

  History* const history = history_init();
  HistEvent event;
  ::history(history, &event, H_SETSIZE, 10'000);
  ::history(history, &event, H_SETUNIQUE, 1);
  const std::string file = HistoryFile();
  if (!file.empty()) ::history(history, &event, H_LOAD, file.c_str());

  EditLine* const editor = el_init("varve", stdin, stdout, stderr);
  el_set(editor, EL_CLIENTDATA, this);
  el_set(editor, EL_PROMPT, &PromptOf);
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_HIST, ::history, history);
  el_set(editor, EL_ADDFN, "varve-complete", "Complete the word", &CompleteKey);
  el_set(editor, EL_BIND, "^I", "varve-complete", nullptr);
  // Between two lines the terminal edits its own line, and would keep a Ctrl-D typed ahead as a
  // mark that reads as a NUL in the next one. With no such key it is handed on as typed.
  el_set(editor, EL_SETTY, "-x", "eof=", nullptr);
  el_set(editor, EL_BIND, "^D", "em-delete-or-list", nullptr);
  el_set(editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  el_set(editor, EL_SIGNAL, 0);
  el_set(editor, EL_GETCFN, &ReadCharacter);
  el_source(editor, nullptr);

  for (;;) {
    int count = 0;
    errno = 0;
    const char* const line = el_gets(editor, &count);
    if (line == nullptr || count <= 0) {
      if (errno == EINTR || count < 0) {  // Ctrl-C: drop the line
        pending_.clear();
        std::cout << "^C\n" << std::flush;
        el_reset(editor);
        continue;
      }
      std::cout << "\n";
      break;
    }
    const std::string text(line, static_cast<size_t>(count));
    if (text.find_first_not_of(" \t\r\n") != std::string::npos) {
      ::history(history, &event, H_ENTER,
                text.substr(0, text.find_last_not_of("\r\n") + 1).c_str());
    }
    if (!Take(text)) break;
  }
  if (!file.empty()) ::history(history, &event, H_SAVE, file.c_str());
  el_end(editor);
  history_end(history);
  return kOk;
}

}  // namespace

int RunShell(const ShellCommand& command) {
  Result<std::unique_ptr<Source>> source =
      command.target.find("://") != std::string::npos
          ? Source::Connect(command.target)
          : Source::OpenDirectory(command.target, command.engine);
  if (!source.ok()) return Fail(source.status());
  const bool terminal = isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
  Shell shell(*std::move(source), terminal);
  return terminal ? shell.RunTerminal() : shell.RunScript(std::cin);
}

}  // namespace varve::cli
