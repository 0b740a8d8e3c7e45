#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/strings.h"
#include "query/functions/go_format.h"
#include "query/logs/go_time.h"
#include "query/logs/template_arguments.h"
#include "query/logs/template_value.h"

namespace varve::query {

using namespace templates;  // NOLINT(build/namespaces): this file is a part of it

namespace {

Result<int> Order(const Value& a, const Value& b) {
  if (a.kind != b.kind) return Fail("incompatible types for comparison");
  switch (a.kind) {
    case Kind::kInt:
      return a.integer < b.integer ? -1 : a.integer > b.integer;
    case Kind::kFloat:
      return a.number < b.number ? -1 : a.number > b.number;
    case Kind::kString:
      return a.text < b.text ? -1 : a.text > b.text;
    default:
      return Fail("invalid type for comparison");
  }
}

template <typename Test>
Result<Value> Ordered(Arguments arguments, Test test) {
  VARVE_ASSIGN_OR_RETURN(const int order, Order(arguments[0], arguments[1]));
  return Value::Bool(test(order));
}

Result<Value> Index(Arguments arguments) {
  Value value = arguments[0];
  for (const Value& key : arguments.subspan(1)) {
    switch (value.kind) {
      case Kind::kNil:
        return Fail("index of untyped nil");
      case Kind::kList:
      case Kind::kString: {
        if (key.kind != Kind::kInt)
          return Fail(Concat("cannot index slice/array with type ", TypeName(key)));
        const size_t size = value.kind == Kind::kList ? value.list->size() : value.text.size();
        if (key.integer < 0 || static_cast<uint64_t>(key.integer) >= size) {
          return Fail(Concat("index out of range: ", key.integer));
        }
        const auto at = static_cast<size_t>(key.integer);
        value = value.kind == Kind::kList ? (*value.list)[at]
                                          : Value::Int(static_cast<unsigned char>(value.text[at]));
        break;
      }
      case Kind::kMap: {
        if (key.kind != Kind::kString) {
          return Fail(Concat("value has type ", TypeName(key), "; should be string"));
        }
        const auto found = std::find_if(value.map->begin(), value.map->end(),
                                        [&](const auto& item) { return item.first == key.text; });
        value = found == value.map->end() ? Value() : found->second;
        break;
      }
      default:
        return Fail(Concat("can't index item of type ", TypeName(value)));
    }
  }
  return value;
}

Result<Value> Slice(const Context& context, Arguments arguments) {
  const Value& value = arguments[0];
  if (value.kind == Kind::kNil) return Fail("slice of untyped nil");
  if (value.kind != Kind::kString && value.kind != Kind::kList) {
    return Fail(Concat("can't slice item of type ", TypeName(value)));
  }
  if (value.kind == Kind::kString && arguments.size() == 4)
    return Fail("cannot 3-index slice a string");
  const auto size =
      static_cast<int64_t>(value.kind == Kind::kString ? value.text.size() : value.list->size());
  int64_t bounds[2] = {0, size};
  for (size_t i = 1; i < arguments.size() && i < 3; ++i) {
    if (arguments[i].kind != Kind::kInt) {
      return Fail(Concat("cannot index slice/array with type ", TypeName(arguments[i])));
    }
    if (arguments[i].integer < 0 || arguments[i].integer > size) {
      return Fail(Concat("index out of range: ", arguments[i].integer));
    }
    bounds[i - 1] = arguments[i].integer;
  }
  if (bounds[0] > bounds[1])
    return Fail(Concat("invalid slice index: ", bounds[0], " > ", bounds[1]));
  if (value.kind == Kind::kString) {
    return Value::String(value.text.substr(static_cast<size_t>(bounds[0]),
                                           static_cast<size_t>(bounds[1] - bounds[0])));
  }
  context.lists.emplace_back(value.list->begin() + bounds[0], value.list->begin() + bounds[1]);
  Value out;
  out.kind = Kind::kList;
  out.list = &context.lists.back();
  return out;
}

/// Functions of values whatever they are.
FunctionList ValueFunctions() {
  return {
      // Context.
      {"__line__", 0, 0,
       [](const Context& c, Arguments) -> Result<Value> { return Value::String(c.input.line); }},
      {"__timestamp__", 0, 0,
       [](const Context& c, Arguments) -> Result<Value> { return Value::Time(c.input.time_ns); }},
      {"default", 1, 2,
       [](const Context&, Arguments a) -> Result<Value> {
         return a.size() < 2 || !IsTruth(a[1]) ? a[0] : a[1];
       }},
      // Go's own.
      {"eq", 2, -1,
       [](const Context&, Arguments a) -> Result<Value> {
         for (const Value& other : a.subspan(1)) {
           VARVE_ASSIGN_OR_RETURN(const bool equal, TemplateEquals(a[0], other));
           if (equal) return Value::Bool(true);
         }
         return Value::Bool(false);
       },
       true},
      {"ne", 2, 2,
       [](const Context&, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const bool equal, TemplateEquals(a[0], a[1]));
         return Value::Bool(!equal);
       },
       true},
      {"lt", 2, 2,
       [](const Context&, Arguments a) { return Ordered(a, [](int order) { return order < 0; }); },
       true},
      {"le", 2, 2,
       [](const Context&, Arguments a) { return Ordered(a, [](int order) { return order <= 0; }); },
       true},
      {"gt", 2, 2,
       [](const Context&, Arguments a) { return Ordered(a, [](int order) { return order > 0; }); },
       true},
      {"ge", 2, 2,
       [](const Context&, Arguments a) { return Ordered(a, [](int order) { return order >= 0; }); },
       true},
      {"and", 1, -1, nullptr, true},
      {"or", 1, -1, nullptr, true},
      {"not", 1, 1,
       [](const Context&, Arguments a) -> Result<Value> { return Value::Bool(!IsTruth(a[0])); },
       true},
      {"index", 1, -1, [](const Context&, Arguments a) { return Index(a); }, true},
      {"len", 1, 1,
       [](const Context&, Arguments a) -> Result<Value> {
         switch (a[0].kind) {
           case Kind::kString:
             return Value::Int(static_cast<int64_t>(a[0].text.size()));
           case Kind::kList:
             return Value::Int(static_cast<int64_t>(a[0].list->size()));
           case Kind::kMap:
             return Value::Int(static_cast<int64_t>(a[0].map->size()));
           case Kind::kNil:
             return Fail("len of nil pointer");
           default:
             return Fail(Concat("len of type ", TypeName(a[0])));
         }
       },
       true},
      {"slice", 1, 4, [](const Context& c, Arguments a) { return Slice(c, a); }, true},
  };
}

}  // namespace

Result<TemplateValue> TemplateCallContext::Keep(std::string_view bytes) const {
  if (bytes.size() > bytes_left) return Fail("exceeded the limit of template output");
  bytes_left -= bytes.size();
  return TemplateValue::String(arena.Copy(bytes));
}

std::string_view TypeName(const TemplateValue& value) {
  switch (value.kind) {
    case Kind::kNil:
      return "<nil>";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float64";
    case Kind::kString:
      return "string";
    case Kind::kTime:
      return "time.Time";
    case Kind::kList:
      return "[]interface {}";
    case Kind::kMap:
      return value.labels ? "map[string]string" : "map[string]interface {}";
  }
  return "";
}

bool IsTruth(const TemplateValue& value) {
  switch (value.kind) {
    case Kind::kNil:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer != 0;
    case Kind::kFloat:
      return value.number != 0;
    case Kind::kString:
      return !value.text.empty();
    case Kind::kTime:
      return true;
    case Kind::kList:
      return !value.list->empty();
    case Kind::kMap:
      return value.map != nullptr && !value.map->empty();
  }
  return false;
}

void AppendValue(const TemplateValue& value, std::string* out) {
  switch (value.kind) {
    case Kind::kNil:
      *out += "<nil>";
      return;
    case Kind::kBool:
      *out += value.integer ? "true" : "false";
      return;
    case Kind::kInt:
      *out += std::to_string(value.integer);
      return;
    case Kind::kFloat:
      *out += GoFormatG(value.number);
      return;
    case Kind::kString:
      *out += value.text;
      return;
    case Kind::kTime:
      *out += FormatGoTime(value.integer);
      return;
    case Kind::kList: {
      out->push_back('[');
      bool first = true;
      for (const TemplateValue& item : *value.list) {
        if (!first) out->push_back(' ');
        first = false;
        AppendValue(item, out);
      }
      out->push_back(']');
      return;
    }
    case Kind::kMap: {
      *out += "map[";
      bool first = true;
      if (value.map != nullptr) {
        for (const auto& [key, item] : *value.map) {
          if (!first) out->push_back(' ');
          first = false;
          *out += Concat(key, ":");
          AppendValue(item, out);
        }
      }
      out->push_back(']');
      return;
    }
  }
}

Result<bool> TemplateEquals(const TemplateValue& a, const TemplateValue& b) {
  if (a.kind == Kind::kNil || b.kind == Kind::kNil) return a.kind == b.kind;
  if (a.kind == Kind::kList || a.kind == Kind::kMap || b.kind == Kind::kList ||
      b.kind == Kind::kMap) {
    return Fail(Concat("non-comparable type ",
                       TypeName(a.kind == Kind::kList || a.kind == Kind::kMap ? a : b)));
  }
  if (a.kind != b.kind) return Fail("incompatible types for comparison");
  switch (a.kind) {
    case Kind::kFloat:
      return a.number == b.number;
    case Kind::kString:
      return a.text == b.text;
    default:
      return a.integer == b.integer;
  }
}

const TemplateFunction* FindTemplateFunction(std::string_view name) {
  static const auto* const by_name = [] {
    auto* map = new StringViewMap<const TemplateFunction*>();
    static const auto* const functions = [] {
      auto* all = new FunctionList(ValueFunctions());
      for (const auto list : {TextFunctions, RegexFunctions, EncodingFunctions, PrintFunctions,
                              NumberFunctions, TimeFunctions}) {
        const FunctionList more = list();
        all->insert(all->end(), more.begin(), more.end());
      }
      return all;
    }();
    for (const TemplateFunction& function : *functions) map->emplace(function.name, &function);
    return map;
  }();
  const auto found = by_name->find(name);
  return found == by_name->end() ? nullptr : found->second;
}

}  // namespace varve::query
