#include "tools/tracing/filter_terms.h"

#include <simdjson.h>

#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/protobuf.h"

namespace varve::tracing {
namespace {

namespace dom = simdjson::dom;
using ingest::WireFault;
using ingest::WireReader;
using Kind = FilterTerm::Kind;

// Nodes and list values of one filter.
constexpr size_t kTermsMax = 1000;

Status Invalid(std::string_view message) {
  return MakeStatus(StatusCode::kInvalidArgument, Concat("malformed filter: ", message));
}

// Counts what a filter is made of, in whatever form it comes.
class Budget {
 public:
  Status Take(size_t terms) {
    used_ += terms;
    return used_ <= kTermsMax ? absl::OkStatus()
                              : Invalid(Concat("more than ", kTermsMax, " parts"));
  }
  static Status CheckDepth(int depth) {
    return depth <= kFilterDepthMax
               ? absl::OkStatus()
               : Invalid(Concat("it nests calls more than ", kFilterDepthMax, " deep"));
  }

 private:
  size_t used_ = 0;
};

// --- JSON ---

class JsonTerms {
 public:
  Result<FilterTerm> Call(dom::element element, int depth) {
    VARVE_RETURN_IF_ERROR(Budget::CheckDepth(depth));
    VARVE_RETURN_IF_ERROR(budget_.Take(1));
    FilterTerm out;
    out.kind = Kind::kCall;
    VARVE_ASSIGN_OR_RETURN(const dom::object object, Object(element, "a call"));
    for (const auto& [key, value] : object) {
      if (key == "op") {
        VARVE_ASSIGN_OR_RETURN(out.name, Text(value, key));
      } else if (key == "args") {
        VARVE_ASSIGN_OR_RETURN(const dom::array args, Array(value, key));
        for (const dom::element arg : args) {
          VARVE_ASSIGN_OR_RETURN(out.args.emplace_back(), Expression(arg, depth));
        }
      } else {
        return Unknown(key);
      }
    }
    return out;
  }

 private:
  Result<FilterTerm> Expression(dom::element element, int depth) {
    VARVE_ASSIGN_OR_RETURN(const dom::object object, Object(element, "an argument"));
    if (object.size() != 1) return Invalid("an argument has one member");
    const auto [key, value] = *object.begin();
    if (key == "call") return Call(value, depth + 1);
    VARVE_RETURN_IF_ERROR(budget_.Take(1));
    constexpr std::pair<std::string_view, Kind> kKinds[] = {{"attr", Kind::kAttribute},
                                                            {"field", Kind::kField},
                                                            {"nested", Kind::kNested},
                                                            {"scalar", Kind::kScalar},
                                                            {"list", Kind::kList}};
    FilterTerm out;
    for (const auto& [name, kind] : kKinds) {
      if (key == name) out.kind = kind;
    }
    if (out.kind == Kind::kNone) return Unknown(key);
    VARVE_ASSIGN_OR_RETURN(const dom::object members, Object(value, key));
    for (const auto& [name, member] : members) {
      VARVE_RETURN_IF_ERROR(Member(name, member, &out));
    }
    return out;
  }

  Status Member(std::string_view name, dom::element value, FilterTerm* out) {
    const bool reference =
        out->kind == Kind::kAttribute || out->kind == Kind::kField || out->kind == Kind::kNested;
    if ((name == "key" && out->kind == Kind::kAttribute) ||
        (name == "name" && out->kind == Kind::kField) ||
        (name == "value" && out->kind == Kind::kScalar)) {
      VARVE_ASSIGN_OR_RETURN(out->name, Text(value, name));
    } else if (name == "level" && reference) {
      VARVE_ASSIGN_OR_RETURN(out->level, Text(value, name));
    } else if (name == "type" && !reference) {
      VARVE_ASSIGN_OR_RETURN(out->type, Text(value, name));
    } else if (name == "values" && out->kind == Kind::kList) {
      VARVE_ASSIGN_OR_RETURN(const dom::array values, Array(value, name));
      VARVE_RETURN_IF_ERROR(budget_.Take(values.size()));
      for (const dom::element one : values) {
        VARVE_ASSIGN_OR_RETURN(out->values.emplace_back(), Text(one, name));
      }
    } else {
      return Unknown(name);
    }
    return absl::OkStatus();
  }

  static Status Unknown(std::string_view key) {
    return Invalid(Concat("unknown member ", GoQuote(key)));
  }
  static Result<std::string> Text(dom::element element, std::string_view what) {
    std::string_view text;
    if (element.get_string().get(text) != simdjson::SUCCESS) {
      return Invalid(Concat(GoQuote(what), " is a string"));
    }
    return std::string(text);
  }
  static Result<dom::object> Object(dom::element element, std::string_view what) {
    dom::object object;
    if (element.get_object().get(object) != simdjson::SUCCESS) {
      return Invalid(Concat(what, " is an object"));
    }
    return object;
  }
  static Result<dom::array> Array(dom::element element, std::string_view what) {
    dom::array array;
    if (element.get_array().get(array) != simdjson::SUCCESS) {
      return Invalid(Concat(GoQuote(what), " is an array"));
    }
    return array;
  }

  Budget budget_;
};

// --- Protobuf ---

class WireTerms {
 public:
  explicit WireTerms(WireFault* fault) : fault_(fault) {}

  // {string op = 1; repeated Expression args = 2}.
  Status Call(std::string_view wire, int depth, FilterTerm* out) {
    VARVE_RETURN_IF_ERROR(Budget::CheckDepth(depth));
    VARVE_RETURN_IF_ERROR(budget_.Take(1));
    out->kind = Kind::kCall;
    WireReader reader(wire, fault_, "Call");
    while (reader.Next()) {
      std::string_view bytes;
      if (!reader.Bytes(&bytes)) break;
      if (reader.field() == 1) {
        out->name = bytes;
      } else if (reader.field() == 2) {
        VARVE_RETURN_IF_ERROR(Expression(bytes, depth, &out->args.emplace_back()));
      } else {
        return Unknown("Call", reader.field());
      }
    }
    return fault_->ok() ? absl::OkStatus() : fault_->ToStatus();
  }

 private:
  // oneof {attr = 1; field = 2; nested = 3; scalar = 4; list = 5; call = 6}.
  Status Expression(std::string_view wire, int depth, FilterTerm* out) {
    constexpr Kind kKinds[] = {Kind::kAttribute, Kind::kField, Kind::kNested,
                               Kind::kScalar,    Kind::kList,  Kind::kCall};
    WireReader reader(wire, fault_, "Expression");
    while (reader.Next()) {
      std::string_view bytes;
      if (!reader.Bytes(&bytes)) break;
      if (reader.field() > std::size(kKinds)) return Unknown("Expression", reader.field());
      if (out->kind != Kind::kNone) return Invalid("an argument has one term");
      out->kind = kKinds[reader.field() - 1];
      if (out->kind == Kind::kCall) {
        VARVE_RETURN_IF_ERROR(Call(bytes, depth + 1, out));
      } else {
        VARVE_RETURN_IF_ERROR(Leaf(bytes, out));
      }
    }
    if (!fault_->ok()) return fault_->ToStatus();
    return out->kind == Kind::kNone ? Invalid("an argument has one term") : absl::OkStatus();
  }

  // AttributeReference and FieldReference {name = 1; level = 2}, NestedReference {level = 1},
  // Scalar {value = 1; type = 2}, List {repeated values = 1; type = 2}.
  Status Leaf(std::string_view wire, FilterTerm* out) {
    VARVE_RETURN_IF_ERROR(budget_.Take(1));
    WireReader reader(wire, fault_, "Expression");
    while (reader.Next()) {
      std::string_view text;
      if (!reader.Bytes(&text)) break;
      const bool typed = out->kind == Kind::kScalar || out->kind == Kind::kList;
      if (reader.field() == 1 && out->kind == Kind::kNested) {
        out->level = text;
      } else if (reader.field() == 1 && out->kind == Kind::kList) {
        VARVE_RETURN_IF_ERROR(budget_.Take(1));
        out->values.emplace_back(text);
      } else if (reader.field() == 1) {
        out->name = text;
      } else if (reader.field() == 2 && out->kind != Kind::kNested) {
        (typed ? out->type : out->level) = text;
      } else {
        return Unknown("Expression", reader.field());
      }
    }
    return fault_->ok() ? absl::OkStatus() : fault_->ToStatus();
  }

  static Status Unknown(std::string_view message, uint32_t field) {
    return Invalid(Concat("unknown field ", field, " of ", message));
  }

  WireFault* const fault_;
  Budget budget_;
};

}  // namespace

Result<FilterTerm> ReadFilterJson(std::string_view json) {
  dom::parser parser;
  dom::element root;
  if (const auto error = parser.parse(json.data(), json.size(), true).get(root)) {
    return Invalid(simdjson::error_message(error));
  }
  return JsonTerms().Call(root, 1);
}

Result<FilterTerm> ReadFilterProtobuf(std::string_view wire) {
  WireFault fault;
  fault.body = wire.data();
  FilterTerm out;
  VARVE_RETURN_IF_ERROR(WireTerms(&fault).Call(wire, 1, &out));
  return out;
}

}  // namespace varve::tracing
