#include "query/logs/template.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <list>
#include <optional>

#include "absl/container/inlined_vector.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/promql/literals.h"
#include "query/logs/template_value.h"

namespace varve::query {
namespace {

constexpr size_t kDepthMax = 128;

bool IsSpaceByte(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
bool IsWordByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

Status TemplateError(std::string_view what) {
  return MakeStatus(StatusCode::kInvalidArgument, what);
}

}  // namespace

struct LogTemplate::Node {
  enum class Kind : uint8_t {
    kList,
    kText,
    kAction,  // pipeline whose value is printed
    kIf,
    kWith,
    kRange,
    kBreak,
    kContinue,
    kPipeline,  // commands; variables are set
    kCommand,   // operands
    kField,     // .a.b
    kVariable,  // $x.a
    kDot,
    kNil,
    kConstant,
    kFunction,
    kChain,  // (pipeline).a.b
  };
  Kind kind = Kind::kList;
  size_t at = 0;  // byte in the text
  std::vector<std::unique_ptr<Node>> children;
  std::string text;  // kText; source form of constants; the name of functions and variables
  std::vector<std::string> fields;
  TemplateValue constant;
  std::string constant_text;
  const TemplateFunction* function = nullptr;
  // kPipeline
  std::vector<std::string> variables;
  bool assigns = false;  // `=` instead of `:=`
  // kIf, kWith, kRange: children are pipeline, body, and maybe the else part.

  /// Prints as Go's nodes do, for errors.
  std::string Source() const {
    std::string out;
    switch (kind) {
      case Kind::kPipeline:
        for (size_t i = 0; i < variables.size(); ++i) {
          out += Concat(i > 0 ? ", " : "", variables[i],
                        i + 1 == variables.size() ? (assigns ? " = " : " := ") : "");
        }
        for (size_t i = 0; i < children.size(); ++i) {
          out += Concat(i > 0 ? " | " : "", children[i]->Source());
        }
        return out;
      case Kind::kCommand:
        for (size_t i = 0; i < children.size(); ++i) {
          const bool pipeline = children[i]->kind == Kind::kPipeline;
          out += Concat(i > 0 ? " " : "", pipeline ? "(" : "", children[i]->Source(),
                        pipeline ? ")" : "");
        }
        return out;
      case Kind::kChain: {
        const bool pipeline = children[0]->kind == Kind::kPipeline;
        out = Concat(pipeline ? "(" : "", children[0]->Source(), pipeline ? ")" : "");
        for (const std::string& field : fields) out += Concat(".", field);
        return out;
      }
      case Kind::kField:
      case Kind::kVariable:
        out = text;
        for (const std::string& field : fields) out += Concat(".", field);
        return out;
      case Kind::kDot:
        return ".";
      case Kind::kNil:
        return "nil";
      default:
        return text;
    }
  }
};

LogTemplate::LogTemplate() = default;
LogTemplate::~LogTemplate() = default;

// --- Parser ---

class TemplateParser {
 public:
  using Node = LogTemplate::Node;
  using Kind = Node::Kind;

  TemplateParser(std::string_view name, std::string_view text) : name_(name), text_(text) {}

  Result<std::unique_ptr<Node>> Parse() {
    variables_.emplace_back("$");
    auto root = MakeNode(Kind::kList, 0);
    VARVE_ASSIGN_OR_RETURN(const Stop stop, ParseList(root.get(), 0));
    if (stop != Stop::kEnd)
      return Fail(Concat("unexpected {{", stop == Stop::kElse ? "else" : "end", "}}"));
    return root;
  }
  std::vector<std::string> TakeLabels() {
    std::sort(labels_.begin(), labels_.end());
    labels_.erase(std::unique(labels_.begin(), labels_.end()), labels_.end());
    return std::move(labels_);
  }

 private:
  enum class Stop : uint8_t { kEnd, kElse, kEndAction };

  static std::unique_ptr<Node> MakeNode(Kind kind, size_t at) {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->at = at;
    return node;
  }
  Status Fail(std::string_view what) const {
    const auto line =
        1 + std::count(text_.begin(),
                       text_.begin() + static_cast<ptrdiff_t>(std::min(at_, text_.size())), '\n');
    return TemplateError(Concat("template: ", name_, ":", line, ": ", what));
  }

  /// Reads text and actions up to the end, `else` or `end`. Inside of an action that ended a list,
  /// the position is behind the word.
  Result<Stop> ParseList(Node* list, size_t depth) {
    if (depth > kDepthMax) return Fail("too many nested actions");
    for (;;) {
      const size_t open = text_.find("{{", at_);
      std::string_view text = text_.substr(at_, open == std::string_view::npos ? open : open - at_);
      if (trim_next_) {
        while (!text.empty() && IsSpaceByte(text.front())) text.remove_prefix(1);
        trim_next_ = false;
      }
      if (open == std::string_view::npos) {
        AddText(list, text);
        at_ = text_.size();
        return Stop::kEnd;
      }
      at_ = open + 2;
      if (at_ + 1 < text_.size() && text_[at_] == '-' && IsSpaceByte(text_[at_ + 1])) {
        while (!text.empty() && IsSpaceByte(text.back())) text.remove_suffix(1);
        at_ += 2;
      }
      AddText(list, text);
      if (text_.substr(at_, 2) == "/*") {
        const size_t close = text_.find("*/", at_);
        if (close == std::string_view::npos) return Fail("unclosed comment");
        at_ = close + 2;
        if (!AtActionEnd()) return Fail("comment ends before closing delimiter");
        VARVE_RETURN_IF_ERROR(CloseAction());
        continue;
      }
      SkipSpace();
      const size_t begin = at_;
      const std::string_view word = PeekWord();
      if (word == "end" || word == "else") {
        at_ += word.size();
        if (word == "else") return Stop::kElse;
        SkipSpace();
        if (!AtActionEnd()) return Fail(Unexpected("end"));
        VARVE_RETURN_IF_ERROR(CloseAction());
        return Stop::kEndAction;
      }
      if (word == "if" || word == "with" || word == "range") {
        at_ += word.size();
        VARVE_RETURN_IF_ERROR(ParseControl(list, word, begin, depth));
        continue;
      }
      if (word == "break" || word == "continue") {
        at_ += word.size();
        if (range_depth_ == 0) return Fail(Concat("{{", word, "}} outside {{range}}"));
        SkipSpace();
        if (!AtActionEnd()) return Fail(Unexpected(word));
        VARVE_RETURN_IF_ERROR(CloseAction());
        list->children.push_back(MakeNode(word == "break" ? Kind::kBreak : Kind::kContinue, begin));
        continue;
      }
      if (word == "define" || word == "block" || word == "template") {
        return Fail(Concat("{{", word, "}} is not supported"));
      }
      auto action = MakeNode(Kind::kAction, begin);
      VARVE_ASSIGN_OR_RETURN(auto pipeline, ParsePipeline("command", false, depth));
      VARVE_RETURN_IF_ERROR(CloseAction());
      action->children.push_back(std::move(pipeline));
      list->children.push_back(std::move(action));
    }
  }

  void AddText(Node* list, std::string_view text) {
    if (text.empty()) return;
    auto node = MakeNode(Kind::kText, 0);
    node->text = text;
    list->children.push_back(std::move(node));
  }

  Status ParseControl(Node* list, std::string_view word, size_t begin, size_t depth) {
    const bool range = word == "range";
    const size_t variables = variables_.size();
    auto node = MakeNode(word == "if" ? Kind::kIf : range ? Kind::kRange : Kind::kWith, begin);
    VARVE_ASSIGN_OR_RETURN(auto pipeline, ParsePipeline(word, range, depth));
    node->children.push_back(std::move(pipeline));
    VARVE_RETURN_IF_ERROR(CloseAction());
    auto body = MakeNode(Kind::kList, at_);
    range_depth_ += range;
    VARVE_ASSIGN_OR_RETURN(Stop stop, ParseList(body.get(), depth + 1));
    range_depth_ -= range;
    node->children.push_back(std::move(body));
    if (stop == Stop::kElse) {
      SkipSpace();
      auto other = MakeNode(Kind::kList, at_);
      const std::string_view next = PeekWord();
      if ((next == "if" && word == "if") || (next == "with" && word == "with")) {
        // The chain shares one end.
        const size_t else_begin = at_;
        at_ += next.size();
        if (depth > kDepthMax) return Fail("too many nested actions");
        VARVE_RETURN_IF_ERROR(ParseControl(other.get(), word, else_begin, depth + 1));
        node->children.push_back(std::move(other));
        variables_.resize(variables);
        list->children.push_back(std::move(node));
        return absl::OkStatus();
      }
      if (!AtActionEnd()) return Fail(Unexpected("else"));
      VARVE_RETURN_IF_ERROR(CloseAction());
      VARVE_ASSIGN_OR_RETURN(stop, ParseList(other.get(), depth + 1));
      if (stop == Stop::kElse) return Fail("expected end; found {{else}}");
      node->children.push_back(std::move(other));
    }
    if (stop != Stop::kEndAction) return Fail("unexpected EOF");
    variables_.resize(variables);
    list->children.push_back(std::move(node));
    return absl::OkStatus();
  }

  // --- Actions ---

  void SkipSpace() {
    while (at_ < text_.size() && IsSpaceByte(text_[at_])) ++at_;
  }
  std::string_view PeekWord() const {
    size_t end = at_;
    while (end < text_.size() && IsWordByte(text_[end])) ++end;
    return text_.substr(at_, end - at_);
  }
  /// Tells whether `}}` or ` -}}` is next.
  bool AtActionEnd() const {
    const std::string_view rest = text_.substr(std::min(at_, text_.size()));
    if (rest.starts_with("}}")) return true;
    if (rest.starts_with("-}}") && at_ > 0 && IsSpaceByte(text_[at_ - 1])) return true;
    size_t i = 0;
    while (i < rest.size() && IsSpaceByte(rest[i])) ++i;
    return i > 0 && (rest.substr(i, 2) == "}}" || rest.substr(i, 3) == "-}}");
  }
  Status CloseAction() {
    SkipSpace();
    if (text_.substr(at_, 3) == "-}}") {
      trim_next_ = true;
      at_ += 3;
    } else {
      at_ += 2;
    }
    return absl::OkStatus();
  }
  std::string Unexpected(std::string_view context) const {
    if (at_ >= text_.size()) return "unclosed action";
    size_t end = at_ + 1;
    while (end < text_.size() && IsWordByte(text_[at_]) && IsWordByte(text_[end])) ++end;
    return Concat("unexpected ", GoQuote(text_.substr(at_, end - at_)), " in ", context);
  }

  /// Reads `$a, $b := command | command` up to the end of the action or a parenthesis.
  Result<std::unique_ptr<Node>> ParsePipeline(std::string_view context, bool range, size_t depth) {
    if (depth > kDepthMax) return Fail("too many nested parentheses");
    SkipSpace();
    auto node = MakeNode(Kind::kPipeline, at_);
    // Variables that are declared or set.
    const size_t back = at_;
    std::vector<std::string> names;
    while (at_ < text_.size() && text_[at_] == '$') {
      size_t end = at_ + 1;
      while (end < text_.size() && IsWordByte(text_[end])) ++end;
      names.emplace_back(text_.substr(at_, end - at_));
      at_ = end;
      SkipSpace();
      const std::string_view rest = text_.substr(at_);
      if (rest.starts_with(":=") || (rest.starts_with("=") && !rest.starts_with("=="))) {
        node->assigns = rest[0] == '=';
        at_ += node->assigns ? 1 : 2;
        node->variables = std::move(names);
        break;
      }
      if (!rest.starts_with(",") || !range || names.size() >= 2) break;
      ++at_;
      SkipSpace();
    }
    if (node->variables.empty()) at_ = back;
    for (const std::string& variable : node->variables) {
      if (node->assigns &&
          std::find(variables_.begin(), variables_.end(), variable) == variables_.end()) {
        return Fail(Concat("undefined variable ", GoQuote(variable)));
      }
    }
    for (;;) {
      VARVE_ASSIGN_OR_RETURN(auto command, ParseCommand(context, depth));
      if (!node->children.empty() && command->children[0]->kind != Kind::kFunction &&
          command->children[0]->kind != Kind::kField &&
          command->children[0]->kind != Kind::kChain &&
          command->children[0]->kind != Kind::kVariable) {
        return Fail(Concat("non executable command in pipeline stage ", node->children.size() + 1));
      }
      node->children.push_back(std::move(command));
      SkipSpace();
      if (at_ >= text_.size()) return Fail("unclosed action");
      if (text_[at_] != '|') break;
      ++at_;
    }
    if (!node->assigns) {
      for (const std::string& variable : node->variables) variables_.push_back(variable);
    }
    if (text_[at_] != ')' && !AtActionEnd()) return Fail(Unexpected(context));
    return node;
  }

  Result<std::unique_ptr<Node>> ParseCommand(std::string_view context, size_t depth) {
    SkipSpace();
    auto command = MakeNode(Kind::kCommand, at_);
    for (;;) {
      SkipSpace();
      if (at_ >= text_.size()) return Fail("unclosed action");
      if (text_[at_] == '|' || text_[at_] == ')' || AtActionEnd()) break;
      VARVE_ASSIGN_OR_RETURN(auto operand, ParseOperand(context, depth));
      command->children.push_back(std::move(operand));
      if (at_ < text_.size() && !IsSpaceByte(text_[at_]) && text_[at_] != '|' &&
          text_[at_] != ')' && !AtActionEnd()) {
        return Fail(Unexpected("operand"));
      }
    }
    if (command->children.empty()) return Fail(Concat("missing value for ", context));
    return command;
  }

  std::vector<std::string> ParseFields() {
    std::vector<std::string> fields;
    while (at_ + 1 < text_.size() && text_[at_] == '.' && IsWordByte(text_[at_ + 1]) &&
           !(text_[at_ + 1] >= '0' && text_[at_ + 1] <= '9')) {
      size_t end = at_ + 1;
      while (end < text_.size() && IsWordByte(text_[end])) ++end;
      fields.emplace_back(text_.substr(at_ + 1, end - at_ - 1));
      at_ = end;
    }
    return fields;
  }

  Result<std::unique_ptr<Node>> ParseOperand(std::string_view context, size_t depth) {
    const size_t begin = at_;
    const char c = text_[at_];
    if (c == '.' && !(at_ + 1 < text_.size() && text_[at_ + 1] >= '0' && text_[at_ + 1] <= '9')) {
      auto fields = ParseFields();
      if (fields.empty()) {
        ++at_;
        return MakeNode(Kind::kDot, begin);
      }
      // Go places a chain of fields at its second one.
      auto node = MakeNode(Kind::kField, begin + (fields.size() > 1 ? fields[0].size() + 1 : 0));
      labels_.push_back(fields[0]);
      node->fields = std::move(fields);
      return node;
    }
    if (c == '$') {
      size_t end = at_ + 1;
      while (end < text_.size() && IsWordByte(text_[end])) ++end;
      auto node = MakeNode(Kind::kVariable, begin);
      node->text = text_.substr(begin, end - begin);
      at_ = end;
      if (std::find(variables_.begin(), variables_.end(), node->text) == variables_.end()) {
        return Fail(Concat("undefined variable ", GoQuote(node->text)));
      }
      if (at_ < text_.size() && text_[at_] == '.') node->at = at_;
      node->fields = ParseFields();
      if (node->text == "$" && !node->fields.empty()) labels_.push_back(node->fields[0]);
      return node;
    }
    if (c == '(') {
      ++at_;
      VARVE_ASSIGN_OR_RETURN(auto inner, ParsePipeline("parenthesized pipeline", false, depth + 1));
      if (at_ >= text_.size() || text_[at_] != ')') return Fail("unclosed left paren");
      ++at_;
      if (at_ >= text_.size() || text_[at_] != '.') return inner;
      auto chain = MakeNode(Kind::kChain, at_);
      chain->fields = ParseFields();
      chain->children.push_back(std::move(inner));
      return chain;
    }
    if (c == '"' || c == '`' || c == '\'') return ParseQuoted(c);
    if ((c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.') return ParseNumber();
    const std::string_view word = PeekWord();
    if (word.empty()) return Fail(Unexpected(context));
    if (word == "true" || word == "false") {
      at_ += word.size();
      auto node = MakeNode(Kind::kConstant, begin);
      node->constant = TemplateValue::Bool(word == "true");
      node->text = word;
      return node;
    }
    if (word == "nil") {
      at_ += word.size();
      return MakeNode(Kind::kNil, begin);
    }
    auto node = MakeNode(Kind::kFunction, begin);
    node->function = FindTemplateFunction(word);
    if (node->function == nullptr) return Fail(Concat("function ", GoQuote(word), " not defined"));
    node->text = word;
    at_ += word.size();
    return node;
  }

  Result<std::unique_ptr<Node>> ParseQuoted(char quote) {
    const size_t begin = at_;
    size_t end = begin + 1;
    while (end < text_.size() && text_[end] != quote) {
      if (quote != '`' && text_[end] == '\n') break;
      end += quote != '`' && text_[end] == '\\' ? 2 : 1;
    }
    if (end >= text_.size() || text_[end] != quote) {
      return Fail(quote == '`'   ? "unterminated raw quoted string"
                  : quote == '"' ? "unterminated quoted string"
                                 : "unterminated character constant");
    }
    at_ = end + 1;
    auto node = MakeNode(Kind::kConstant, begin);
    node->text = text_.substr(begin, at_ - begin);
    auto value = promql::Unquote(node->text);
    if (!value.ok()) return Fail(Concat("invalid syntax: ", node->text));
    node->constant_text = *std::move(value);
    if (quote == '\'') {
      // A character is its code point.
      const std::string& bytes = node->constant_text;
      uint32_t code = static_cast<unsigned char>(bytes.empty() ? 0 : bytes[0]);
      if (bytes.empty()) return Fail(Concat("malformed character constant: ", node->text));
      if (code >= 0xc0) code &= code >= 0xf0 ? 0x07 : code >= 0xe0 ? 0x0f : 0x1f;
      for (size_t i = 1; i < bytes.size(); ++i)
        code = code << 6 | (static_cast<unsigned char>(bytes[i]) & 0x3f);
      node->constant = TemplateValue::Int(code);
    } else {
      node->constant = TemplateValue::String(node->constant_text);
    }
    return node;
  }

  Result<std::unique_ptr<Node>> ParseNumber() {
    const size_t begin = at_;
    size_t end = begin;
    while (end < text_.size() &&
           (IsWordByte(text_[end]) || text_[end] == '.' ||
            ((text_[end] == '-' || text_[end] == '+') &&
             (end == begin || text_[end - 1] == 'e' || text_[end - 1] == 'E' ||
              text_[end - 1] == 'p' || text_[end - 1] == 'P')))) {
      ++end;
    }
    auto node = MakeNode(Kind::kConstant, begin);
    node->text = text_.substr(begin, end - begin);
    std::string digits = node->text;
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    const bool negative = digits[0] == '-';
    const std::string_view magnitude =
        std::string_view(digits).substr(digits[0] == '-' || digits[0] == '+' ? 1 : 0);
    int base = 10;
    size_t prefix = 0;
    if (magnitude.size() > 1 && magnitude[0] == '0') {
      const char kind = static_cast<char>(magnitude[1] | 0x20);
      base = kind == 'x' ? 16 : kind == 'b' ? 2 : 8;
      prefix = kind == 'x' || kind == 'b' || kind == 'o' ? 2 : 1;
    }
    uint64_t integer = 0;
    const std::string_view body = magnitude.substr(prefix);
    const auto [stop, error] =
        std::from_chars(body.data(), body.data() + body.size(), integer, base);
    at_ = end;
    if (!body.empty() && stop == body.data() + body.size() && error == std::errc() &&
        integer <= static_cast<uint64_t>(INT64_MAX)) {
      node->constant = TemplateValue::Int(negative ? -static_cast<int64_t>(integer)
                                                   : static_cast<int64_t>(integer));
      return node;
    }
    double number = 0;
    const auto [float_stop, float_error] =
        std::from_chars(magnitude.data(), magnitude.data() + magnitude.size(), number);
    if (magnitude.empty() || float_stop != magnitude.data() + magnitude.size() ||
        float_error != std::errc()) {
      at_ = begin;
      return Fail(Concat("bad number syntax: ", GoQuote(node->text)));
    }
    node->constant = TemplateValue::Float(negative ? -number : number);
    return node;
  }

  const std::string_view name_;
  const std::string_view text_;
  size_t at_ = 0;
  bool trim_next_ = false;
  size_t range_depth_ = 0;
  std::vector<std::string> variables_;
  std::vector<std::string> labels_;
};

Result<std::shared_ptr<const LogTemplate>> LogTemplate::Parse(std::string_view name,
                                                              std::string_view text) {
  auto out = std::shared_ptr<LogTemplate>(new LogTemplate());
  out->name_ = name;
  out->text_ = text;
  TemplateParser parser(out->name_, out->text_);
  VARVE_ASSIGN_OR_RETURN(out->root_, parser.Parse());
  out->labels_ = parser.TakeLabels();
  return std::shared_ptr<const LogTemplate>(std::move(out));
}

bool LogTemplate::IsConstant(std::string* text) const {
  for (const auto& child : root_->children) {
    if (child->kind != Node::Kind::kText) return false;
  }
  text->clear();
  for (const auto& child : root_->children) *text += child->text;
  return true;
}

// --- Evaluation ---

class TemplateRun {
 public:
  using Node = LogTemplate::Node;
  using Kind = Node::Kind;

  TemplateRun(const LogTemplate& owner, const TemplateInput& input, const TemplateLimits& limits,
              std::string* output)
      : owner_(owner),
        input_(input),
        output_(output),
        bytes_max_(limits.bytes_max),
        bytes_left_(limits.bytes_max),
        steps_left_(limits.steps_max),
        output_begin_(output->size()) {
    dot_.kind = TemplateValue::Kind::kMap;
    dot_.labels = true;
    variables_.push_back({"$", dot_});
  }

  Status Run() {
    Flow flow = Flow::kNext;
    return WalkList(*owner_.root_, dot_, &flow);
  }

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };
  struct Variable {
    std::string_view name;
    TemplateValue value;
  };

  /// The error of a node, as Go places and words it.
  Status Fail(const Node& node, std::string_view what) const {
    const std::string_view before =
        std::string_view(owner_.text_).substr(0, std::min(node.at, owner_.text_.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const size_t newline = before.rfind('\n');
    const size_t column = newline == std::string_view::npos ? node.at : node.at - newline - 1;
    return TemplateError(Concat("template: ", owner_.name_, ":", line, ":", column, ": executing ",
                                GoQuote(owner_.name_), " at <", node.Source(), ">: ", what));
  }
  Status Step(const Node& node) {
    if (steps_left_ == 0) return Fail(node, "exceeded the limit of template steps");
    --steps_left_;
    return absl::OkStatus();
  }

  Status WalkList(const Node& list, const TemplateValue& dot, Flow* flow) {
    for (const auto& child : list.children) {
      VARVE_RETURN_IF_ERROR(Step(*child));
      switch (child->kind) {
        case Kind::kText:
          *output_ += child->text;
          break;
        case Kind::kAction: {
          VARVE_ASSIGN_OR_RETURN(const TemplateValue value, Pipeline(*child->children[0], dot));
          if (child->children[0]->variables.empty()) Print(value);
          break;
        }
        case Kind::kBreak:
          *flow = Flow::kBreak;
          return absl::OkStatus();
        case Kind::kContinue:
          *flow = Flow::kContinue;
          return absl::OkStatus();
        case Kind::kRange:
          VARVE_RETURN_IF_ERROR(Range(*child, dot, flow));
          break;
        default: {
          const size_t variables = variables_.size();
          VARVE_ASSIGN_OR_RETURN(const TemplateValue value, Pipeline(*child->children[0], dot));
          const TemplateValue& inner = child->kind == Kind::kWith ? value : dot;
          if (IsTrue(value)) {
            VARVE_RETURN_IF_ERROR(WalkList(*child->children[1], inner, flow));
          } else if (child->children.size() > 2) {
            VARVE_RETURN_IF_ERROR(WalkList(*child->children[2], dot, flow));
          }
          variables_.resize(variables);
          break;
        }
      }
      if (output_->size() - output_begin_ > bytes_max_) {
        return Fail(*child, "exceeded the limit of template output");
      }
      if (*flow != Flow::kNext) return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  Status Range(const Node& node, const TemplateValue& dot, Flow*) {
    const size_t variables = variables_.size();
    const Node& pipeline = *node.children[0];
    VARVE_ASSIGN_OR_RETURN(TemplateValue value, Pipeline(pipeline, dot, /*range=*/true));
    const size_t inside = variables_.size();
    if (value.labels) value = LabelsMap();
    size_t count = 0;
    switch (value.kind) {
      case TemplateValue::Kind::kNil:
        break;
      case TemplateValue::Kind::kList:
        count = value.list->size();
        break;
      case TemplateValue::Kind::kMap:
        count = value.map->size();
        break;
      case TemplateValue::Kind::kInt:
        count = static_cast<size_t>(std::max<int64_t>(value.integer, 0));
        break;
      default:
        return Fail(*node.children[0]->children[0],
                    Concat("range can't iterate over ", Printed(value)));
    }
    for (size_t i = 0; i < count; ++i) {
      VARVE_RETURN_IF_ERROR(Step(node));
      TemplateValue key = TemplateValue::Int(static_cast<int64_t>(i));
      TemplateValue item = key;
      if (value.kind == TemplateValue::Kind::kList) item = (*value.list)[i];
      if (value.kind == TemplateValue::Kind::kMap) {
        key = TemplateValue::String((*value.map)[i].first);
        item = (*value.map)[i].second;
      }
      variables_.resize(inside);
      const auto& names = pipeline.variables;
      if (!names.empty()) {
        const TemplateValue& first = names.size() == 1 ? item : key;
        if (pipeline.assigns) {
          Assign(names[0], first);
          if (names.size() > 1) Assign(names[1], item);
        } else {
          variables_.push_back({names[0], first});
          if (names.size() > 1) variables_.push_back({names[1], item});
        }
      }
      Flow flow = Flow::kNext;
      VARVE_RETURN_IF_ERROR(WalkList(*node.children[1], item, &flow));
      if (flow == Flow::kBreak) break;
    }
    variables_.resize(variables);
    if (count == 0 && node.children.size() > 2) {
      Flow flow = Flow::kNext;
      VARVE_RETURN_IF_ERROR(WalkList(*node.children[2], dot, &flow));
    }
    return absl::OkStatus();
  }

  void Assign(std::string_view name, const TemplateValue& value) {
    for (size_t i = variables_.size(); i-- > 0;) {
      if (variables_[i].name == name) {
        variables_[i].value = value;
        return;
      }
    }
  }

  Result<TemplateValue> Pipeline(const Node& node, const TemplateValue& dot, bool range = false) {
    TemplateValue value;
    bool has_value = false;
    for (const auto& command : node.children) {
      VARVE_ASSIGN_OR_RETURN(value, Command(*command, dot, has_value ? &value : nullptr));
      has_value = true;
    }
    if (!range) {
      for (const std::string& name : node.variables) {
        if (node.assigns) {
          Assign(name, value);
        } else {
          variables_.push_back({name, value});
        }
      }
    }
    return value;
  }

  Result<TemplateValue> Command(const Node& node, const TemplateValue& dot,
                                const TemplateValue* final) {
    VARVE_RETURN_IF_ERROR(Step(node));
    const Node& first = *node.children[0];
    if (first.kind == Kind::kFunction) return Call(node, first, dot, final);
    if (node.children.size() > 1 || final != nullptr) {
      if (first.kind == Kind::kField || first.kind == Kind::kChain ||
          first.kind == Kind::kVariable) {
        return Fail(first, Concat(first.fields.empty() ? first.text : first.fields.back(),
                                  " is not a method but has arguments"));
      }
      return Fail(first, Concat("can't give argument to non-function ", first.Source()));
    }
    if (first.kind == Kind::kNil) return Fail(first, "nil is not a command");
    return Evaluate(first, dot);
  }

  Result<TemplateValue> Evaluate(const Node& node, const TemplateValue& dot) {
    VARVE_RETURN_IF_ERROR(Step(node));
    switch (node.kind) {
      case Kind::kDot:
        return dot;
      case Kind::kConstant:
        return node.constant;
      case Kind::kNil:
        return TemplateValue();
      case Kind::kField:
        return Fields(node, dot);
      case Kind::kVariable:
        for (size_t i = variables_.size(); i-- > 0;) {
          if (variables_[i].name == node.text) return Fields(node, variables_[i].value);
        }
        return Fail(node, Concat("undefined variable: ", node.text));
      case Kind::kChain: {
        VARVE_ASSIGN_OR_RETURN(const TemplateValue value, Evaluate(*node.children[0], dot));
        return Fields(node, value);
      }
      case Kind::kPipeline: {
        const size_t variables = variables_.size();
        auto value = Pipeline(node, dot);
        variables_.resize(std::min(variables, variables_.size()));
        return value;
      }
      case Kind::kFunction: {
        // A function as an argument is called without arguments.
        return Call(node, node, dot, nullptr);
      }
      default:
        return Fail(node, "can't evaluate");
    }
  }

  Result<TemplateValue> Fields(const Node& node, TemplateValue value) {
    for (const std::string& field : node.fields) {
      if (value.labels) {
        value = TemplateValue::String(input_.labels->Value(field));
        continue;
      }
      if (value.kind == TemplateValue::Kind::kMap) {
        const auto found = std::find_if(value.map->begin(), value.map->end(),
                                        [&](const auto& item) { return item.first == field; });
        value = found == value.map->end() ? TemplateValue() : found->second;
        continue;
      }
      if (value.kind == TemplateValue::Kind::kNil) {
        return Fail(node, Concat("nil pointer evaluating interface {}.", field));
      }
      return Fail(node, Concat("can't evaluate field ", field, " in type ", TypeName(value)));
    }
    return value;
  }

  Result<TemplateValue> Call(const Node& command, const Node& function_node,
                             const TemplateValue& dot, const TemplateValue* final) {
    const TemplateFunction& function = *function_node.function;
    const bool bare = &command == &function_node;
    const size_t given = bare ? 0 : command.children.size() - 1;
    const size_t count = given + (final != nullptr ? 1 : 0);
    if (static_cast<int>(count) < function.arguments_min ||
        (function.arguments_max >= 0 && static_cast<int>(count) > function.arguments_max)) {
      const bool at_least = function.arguments_max < 0;
      return Fail(function_node,
                  Concat("wrong number of args for ", function.name, ": want ",
                         at_least ? "at least " : "", function.arguments_min, " got ", count));
    }
    const bool conjunction = function.name == "and";
    if (conjunction || function.name == "or") {
      TemplateValue value;
      for (size_t i = 0; i < count; ++i) {
        if (i < given) {
          VARVE_ASSIGN_OR_RETURN(value, Evaluate(*command.children[i + 1], dot));
        } else {
          value = *final;
        }
        if (IsTrue(value) != conjunction) return value;
      }
      return value;
    }
    absl::InlinedVector<TemplateValue, 4> arguments;
    for (size_t i = 0; i < given; ++i) {
      VARVE_ASSIGN_OR_RETURN(TemplateValue value, Evaluate(*command.children[i + 1], dot));
      arguments.push_back(value);
    }
    if (final != nullptr) arguments.push_back(*final);
    for (TemplateValue& value : arguments) {
      if (value.labels &&
          (function.name == "print" || function.name == "println" || function.name == "printf" ||
           function.name == "html" || function.name == "js" || function.name == "urlquery" ||
           function.name == "len" || function.name == "index" || function.name == "default")) {
        value = LabelsMap();
      }
    }
    const TemplateCallContext context{
        input_, input_.labels->arena(), lists_, maps_, bytes_left_, steps_left_};
    auto result = function.call(context, arguments);
    if (!result.ok()) {
      const std::string_view what = ToStd(result.status().message());
      // Go checks the types of arguments before the call, at the argument.
      if (what.starts_with("wrong type for value"))
        return Fail(bare ? function_node : command, what);
      return Fail(command, Concat("error calling ", function.name, ": ", what));
    }
    return *result;
  }

  /// Gives the labels as a sorted map.
  TemplateValue LabelsMap() {
    TemplateMap map;
    input_.labels->ForEach([&](EntryLabels::Part, std::string_view name, std::string_view value) {
      map.emplace_back(name, TemplateValue::String(value));
    });
    std::sort(map.begin(), map.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    maps_.push_back(std::move(map));
    TemplateValue out;
    out.kind = TemplateValue::Kind::kMap;
    out.map = &maps_.back();
    return out;
  }

  bool IsTrue(const TemplateValue& value) { return IsTruth(value.labels ? LabelsMap() : value); }

  std::string Printed(const TemplateValue& value) {
    std::string out;
    AppendValue(value, &out);
    return out;
  }

  void Print(const TemplateValue& value) {
    if (value.kind == TemplateValue::Kind::kNil) {
      *output_ += "<no value>";
    } else {
      AppendValue(value.labels ? LabelsMap() : value, output_);
    }
  }

  const LogTemplate& owner_;
  const TemplateInput& input_;
  std::string* output_;
  const uint64_t bytes_max_;
  uint64_t bytes_left_;
  uint64_t steps_left_;
  const size_t output_begin_;
  TemplateValue dot_;
  std::vector<Variable> variables_;
  std::list<TemplateList> lists_;
  std::list<TemplateMap> maps_;
};

Status LogTemplate::Execute(const TemplateInput& input, const TemplateLimits& limits,
                            std::string* output) const {
  return TemplateRun(*this, input, limits, output).Run();
}

}  // namespace varve::query
