#include "engine/index/memory_index.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "engine/base/arena.h"
#include "engine/base/macros.h"
#include "engine/base/seeded_hash.h"
#include "engine/base/strings.h"
#include "engine/index/select.h"
#include "engine/index/stable_vector.h"

namespace varve::index {
namespace {

struct Symbol {
  const char* data = nullptr;
  uint32_t size = 0;
  uint32_t hash = 0;
  std::string_view text() const { return {data, size}; }
};

/// One (name, value) that some row refers to. `symbol` and `name` do not change while it is in
/// use: readers without a lock see only those.
struct Pair {
  uint32_t symbol = 0;
  uint32_t name = 0;
  uint32_t rows = 0;       // that refer to it, live or removed
  uint32_t position = 0;   // in Name::pairs
  MutablePostings series;  // live ones
};
static_assert(sizeof(Pair) == 32);

struct Name {
  std::string_view text;
  std::vector<uint32_t> pairs;
  MutablePostings series;  // live ones that have the label
};

size_t Mix(uint64_t value) { return value * 0x9e3779b97f4a7c15u; }

struct SymbolKey {
  std::string_view text;
  uint32_t hash;
};
struct SymbolHash {
  using is_transparent = void;
  const StableVector<Symbol>* symbols;
  size_t operator()(uint32_t id) const { return Mix((*symbols)[id].hash); }
  size_t operator()(const SymbolKey& key) const { return Mix(key.hash); }
};
struct SymbolEqual {
  using is_transparent = void;
  const StableVector<Symbol>* symbols;
  bool operator()(uint32_t a, uint32_t b) const { return a == b; }
  bool operator()(uint32_t id, const SymbolKey& key) const {
    const Symbol& symbol = (*symbols)[id];
    return symbol.hash == key.hash && symbol.text() == key.text;
  }
};

struct PairKey {
  uint32_t name;
  SymbolKey value;
};
size_t HashPair(uint32_t name, uint32_t value_hash) {
  return Mix(uint64_t{name} << 32 | (value_hash ^ name * 0x85ebca6bu));
}
struct PairHash {
  using is_transparent = void;
  const StableVector<Pair>* pairs;
  const StableVector<Symbol>* symbols;
  size_t operator()(uint32_t id) const {
    const Pair& pair = (*pairs)[id];
    return HashPair(pair.name, (*symbols)[pair.symbol].hash);
  }
  size_t operator()(const PairKey& key) const { return HashPair(key.name, key.value.hash); }
};
struct PairEqual {
  using is_transparent = void;
  const StableVector<Pair>* pairs;
  const StableVector<Symbol>* symbols;
  bool operator()(uint32_t a, uint32_t b) const { return a == b; }
  bool operator()(uint32_t id, const PairKey& key) const {
    const Pair& pair = (*pairs)[id];
    const Symbol& symbol = (*symbols)[pair.symbol];
    return pair.name == key.name && symbol.hash == key.value.hash &&
           symbol.text() == key.value.text;
  }
};

uint32_t HashText(std::string_view text) { return static_cast<uint32_t>(SeededHash64(text) >> 32); }

}  // namespace

/// A row is an array of its length followed by as many pair ids, in the order of label names.
struct MemoryIndex::State {
  Arena strings{size_t{16} << 10};
  Arena row_memory{size_t{16} << 10};
  StableVector<Symbol> symbols;
  StableVector<Name> names;
  StableVector<Pair> pairs;
  StableVector<uint32_t*> slots;  // rows; null when free
  StringViewMap<uint32_t> name_ids;
  absl::flat_hash_set<uint32_t, SymbolHash, SymbolEqual> symbol_ids{0, SymbolHash{&symbols},
                                                                    SymbolEqual{&symbols}};
  absl::flat_hash_set<uint32_t, PairHash, PairEqual> pair_ids{0, PairHash{&pairs, &symbols},
                                                              PairEqual{&pairs, &symbols}};
  MutablePostings live;
  std::vector<uint32_t> free_ordinals;
  std::vector<uint32_t> free_pairs;
  std::vector<std::vector<uint32_t*>> free_rows;  // by length
  // The pairs of the series added last: neighbours share most labels.
  std::vector<uint32_t> last_pairs;
  uint64_t string_bytes = 0;

  std::string_view Text(uint32_t symbol) const { return symbols[symbol].text(); }
  std::string_view ValueOfPair(uint32_t pair) const { return Text(pairs[pair].symbol); }
  std::span<const uint32_t> Row(uint32_t ordinal) const {
    const uint32_t* row = slots[ordinal];
    return {row + 1, row[0]};
  }

  uint32_t InternName(std::string_view name) {
    const auto known = name_ids.find(name);
    if (known != name_ids.end()) return known->second;
    const std::string_view text = Text(InternSymbol({name, HashText(name)}));
    const uint32_t id = names.size();
    names.emplace_back(text);
    name_ids.emplace(text, id);
    return id;
  }
  uint32_t InternSymbol(const SymbolKey& key) {
    return *symbol_ids.lazy_emplace(key, [&](const auto& construct) {
      const std::string_view text = strings.Copy(key.text);
      string_bytes += text.size();
      const uint32_t id = symbols.size();
      symbols.emplace_back(text.data(), static_cast<uint32_t>(text.size()), key.hash);
      construct(id);
    });
  }
  uint32_t InternPair(uint32_t name, std::string_view value) {
    const PairKey key{name, {value, HashText(value)}};
    return *pair_ids.lazy_emplace(key, [&](const auto& construct) {
      uint32_t id = pairs.size();
      if (free_pairs.empty()) {
        pairs.emplace_back();
      } else {
        id = free_pairs.back();
        free_pairs.pop_back();
      }
      Pair& pair = pairs[id];
      pair.symbol = InternSymbol(key.value);
      pair.name = name;
      pair.rows = 0;
      pair.position = static_cast<uint32_t>(names[name].pairs.size());
      names[name].pairs.push_back(id);
      construct(id);
    });
  }
  void FreePair(uint32_t id) {
    Pair& pair = pairs[id];
    pair_ids.erase(id);
    std::vector<uint32_t>& siblings = names[pair.name].pairs;
    const uint32_t moved = siblings.back();
    siblings[pair.position] = moved;
    pairs[moved].position = pair.position;
    siblings.pop_back();
    if (siblings.size() < siblings.capacity() / 4) siblings.shrink_to_fit();
    free_pairs.push_back(id);
  }

  void Place(uint32_t ordinal, LabelsView labels) {
    uint32_t* row = nullptr;
    if (labels.size() < free_rows.size() && !free_rows[labels.size()].empty()) {
      row = free_rows[labels.size()].back();
      free_rows[labels.size()].pop_back();
    } else {
      row = reinterpret_cast<uint32_t*>(
          row_memory.Allocate((labels.size() + 1) * sizeof(uint32_t), alignof(uint32_t)));
    }
    row[0] = static_cast<uint32_t>(labels.size());
    for (size_t i = 0; i < labels.size(); ++i) {
      const LabelView& label = labels[i];
      uint32_t name = UINT32_MAX;
      uint32_t pair = UINT32_MAX;
      if (i < last_pairs.size()) {
        const Pair& last = pairs[last_pairs[i]];
        if (names[last.name].text == label.name) {
          name = last.name;
          if (Text(last.symbol) == label.value) pair = last_pairs[i];
        }
      }
      if (name == UINT32_MAX) name = InternName(label.name);
      if (pair == UINT32_MAX) pair = InternPair(name, label.value);
      row[i + 1] = pair;
      ++pairs[pair].rows;
      pairs[pair].series.Add(ordinal);
      names[name].series.Add(ordinal);
    }
    last_pairs.assign(row + 1, row + 1 + labels.size());
    slots[ordinal] = row;
    live.Add(ordinal);
  }

  // What Selection asks for. A value is the position of its pair in the list of its name.
  bool FindName(std::string_view name, uint32_t* id) const {
    const auto found = name_ids.find(name);
    if (found == name_ids.end()) return false;
    *id = found->second;
    return true;
  }
  std::optional<uint32_t> FindPair(uint32_t name, std::string_view value) const {
    const auto found = pair_ids.find(PairKey{name, {value, HashText(value)}});
    if (found == pair_ids.end()) return std::nullopt;
    return *found;
  }
  size_t ValueCount(uint32_t name) const { return names[name].pairs.size(); }
  Postings All() const { return live.Borrow(); }
  Postings WithName(uint32_t name) const { return names[name].series.Borrow(); }
  Postings EqualTo(uint32_t name, std::string_view value) const {
    const std::optional<uint32_t> pair = FindPair(name, value);
    return pair ? pairs[*pair].series.Borrow() : Postings();
  }
  void AcceptedValues(const CompiledMatcher& matcher, uint32_t name,
                      std::vector<uint32_t>* positions) const {
    if (const std::vector<std::string>* literals = matcher.literals()) {
      for (const std::string& literal : *literals) {
        const std::optional<uint32_t> pair = FindPair(name, literal);
        if (pair) positions->push_back(pairs[*pair].position);
      }
      std::sort(positions->begin(), positions->end());
      return;
    }
    const std::vector<uint32_t>& all = names[name].pairs;
    for (uint32_t i = 0; i < all.size(); ++i) {
      if (matcher.Accepts(ValueOfPair(all[i]))) positions->push_back(i);
    }
  }
  Postings UnionOf(uint32_t name, std::span<const uint32_t> positions) const {
    const std::vector<uint32_t>& of_name = names[name].pairs;
    if (positions.size() == of_name.size()) return WithName(name);
    if (positions.size() == 1) return pairs[of_name[positions[0]]].series.Borrow();
    PostingsUnion all;
    for (const uint32_t position : positions) all.Add(pairs[of_name[position]].series.Borrow());
    return all.Finish();
  }
  std::string_view ValueOf(uint32_t ordinal, uint32_t name) const {
    for (const uint32_t pair : Row(ordinal)) {
      if (pairs[pair].name == name) return ValueOfPair(pair);
    }
    return {};
  }
  bool PreferDirect(uint32_t, size_t) const { return false; }
  std::optional<Postings> Recall(const CompiledMatcher&) const { return std::nullopt; }
  void Remember(const CompiledMatcher&, const Postings&) const {}
};

MemoryIndex::MemoryIndex() : state_(std::make_unique<State>()) {}
MemoryIndex::~MemoryIndex() = default;

uint32_t MemoryIndex::Add(LabelsView labels) {
  State& s = *state_;
  VARVE_CHECK(IsCanonical(labels));
  uint32_t ordinal = s.slots.size();
  if (s.free_ordinals.empty()) {
    VARVE_CHECK(ordinal < kOrdinalEnd);
    s.slots.emplace_back();
  } else {
    ordinal = s.free_ordinals.back();
    s.free_ordinals.pop_back();
  }
  s.Place(ordinal, labels);
  return ordinal;
}

void MemoryIndex::Remove(uint32_t ordinal) {
  State& s = *state_;
  VARVE_CHECK(s.live.Remove(ordinal));
  for (const uint32_t pair : s.Row(ordinal)) {
    s.pairs[pair].series.Remove(ordinal);
    s.names[s.pairs[pair].name].series.Remove(ordinal);
  }
}

void MemoryIndex::Recycle(uint32_t ordinal) {
  State& s = *state_;
  VARVE_CHECK(ordinal < s.slots.size() && s.slots[ordinal] != nullptr && !s.live.Contains(ordinal));
  for (const uint32_t pair : s.Row(ordinal)) {
    if (--s.pairs[pair].rows == 0) s.FreePair(pair);
  }
  uint32_t* row = s.slots[ordinal];
  if (s.free_rows.size() <= row[0]) s.free_rows.resize(row[0] + 1);
  s.free_rows[row[0]].push_back(row);
  s.slots[ordinal] = nullptr;
  s.free_ordinals.push_back(ordinal);
  s.last_pairs.clear();  // some may be free now
}

uint32_t MemoryIndex::size() const { return state_->live.size(); }
uint32_t MemoryIndex::slots() const { return state_->slots.size(); }
bool MemoryIndex::IsLive(uint32_t ordinal) const { return state_->live.Contains(ordinal); }

void MemoryIndex::GetLabels(uint32_t ordinal, std::vector<LabelView>* out) const {
  const State& s = *state_;
  const std::span<const uint32_t> row = s.Row(ordinal);
  out->resize(row.size());
  for (size_t i = 0; i < row.size(); ++i) {
    const Pair& pair = s.pairs[row[i]];
    (*out)[i] = {s.names[pair.name].text, s.Text(pair.symbol)};
  }
}

std::string_view MemoryIndex::GetLabel(uint32_t ordinal, std::string_view name) const {
  // Compares texts: the table of names is not for readers without a lock.
  const State& s = *state_;
  for (const uint32_t id : s.Row(ordinal)) {
    const Pair& pair = s.pairs[id];
    if (s.names[pair.name].text == name) return s.Text(pair.symbol);
  }
  return {};
}

Postings MemoryIndex::Select(std::span<const CompiledMatcher> matchers) const {
  return Selection<State>(*state_).Run(matchers).Own();
}

Postings MemoryIndex::SeriesOf(std::string_view name, std::string_view value) const {
  uint32_t id = 0;
  if (!state_->FindName(name, &id)) return {};
  return state_->EqualTo(id, value).Own();
}

bool MemoryIndex::Contains(std::string_view name, std::string_view value) const {
  uint32_t id = 0;
  if (!state_->FindName(name, &id)) return false;
  const std::optional<uint32_t> pair = state_->FindPair(id, value);
  return pair && !state_->pairs[*pair].series.empty();
}

namespace {
/// Sorts and cuts what was gathered in any order.
void Arrange(LabelStrings* out, size_t limit) {
  if (limit != 0 && out->values.size() > limit) {
    const auto end = out->values.begin() + static_cast<ptrdiff_t>(limit);
    std::nth_element(out->values.begin(), end, out->values.end());
    out->values.resize(limit);
    out->truncated = true;
  }
  std::sort(out->values.begin(), out->values.end());
}
}  // namespace

LabelStrings MemoryIndex::LabelNames(const Postings* within, size_t limit) const {
  const State& s = *state_;
  LabelStrings out;
  for (uint32_t name = 0; name < s.names.size(); ++name) {
    const Postings series = s.names[name].series.Borrow();
    if (within == nullptr ? !series.empty() : Intersects(*within, series)) {
      out.values.push_back(s.names[name].text);
    }
  }
  Arrange(&out, limit);
  return out;
}

LabelStrings MemoryIndex::LabelValues(std::string_view name, const Postings* within,
                                      size_t limit) const {
  const State& s = *state_;
  LabelStrings out;
  uint32_t id = 0;
  if (!s.FindName(name, &id)) return out;
  const std::vector<uint32_t>& pairs = s.names[id].pairs;
  if (within == nullptr) {
    for (const uint32_t pair : pairs) {
      if (!s.pairs[pair].series.empty()) out.values.push_back(s.ValueOfPair(pair));
    }
  } else if (within->size() / 4 <= pairs.size()) {
    std::vector<bool> seen(pairs.size());
    within->ForEach([&](uint32_t ordinal) {
      if (!s.live.Contains(ordinal)) return;
      for (const uint32_t pair : s.Row(ordinal)) {
        if (s.pairs[pair].name == id) seen[s.pairs[pair].position] = true;
      }
    });
    for (size_t i = 0; i < pairs.size(); ++i) {
      if (seen[i]) out.values.push_back(s.ValueOfPair(pairs[i]));
    }
  } else {
    for (const uint32_t pair : pairs) {
      if (Intersects(*within, s.pairs[pair].series.Borrow())) {
        out.values.push_back(s.ValueOfPair(pair));
      }
    }
  }
  Arrange(&out, limit);
  return out;
}

Cardinality MemoryIndex::CardinalityStats(size_t top) const {
  const State& s = *state_;
  CardinalityCounter counter(top);
  for (uint32_t name = 0; name < s.names.size(); ++name) {
    counter.BeginName(s.names[name].text);
    for (const uint32_t pair : s.names[name].pairs) {
      const uint32_t series = s.pairs[pair].series.size();
      if (series > 0) counter.AddValue(s.ValueOfPair(pair), series);
    }
  }
  return counter.Finish(s.live.size());
}

std::unique_ptr<MemoryIndex> MemoryIndex::CopyLive() const {
  auto out = std::make_unique<MemoryIndex>();
  std::vector<LabelView> labels;
  for (uint32_t ordinal = 0; ordinal < slots(); ++ordinal) {
    out->state_->slots.emplace_back();
    if (!IsLive(ordinal)) {
      out->state_->free_ordinals.push_back(ordinal);
      continue;
    }
    GetLabels(ordinal, &labels);
    out->state_->Place(ordinal, labels);
  }
  // Small ordinals first: they keep sets dense.
  std::reverse(out->state_->free_ordinals.begin(), out->state_->free_ordinals.end());
  return out;
}

MemoryIndex::Stats MemoryIndex::stats() const {
  const State& s = *state_;
  Stats out;
  out.series = s.live.size();
  out.strings = s.symbols.size();
  out.string_bytes = s.string_bytes;
  std::vector<bool> used(s.symbols.size());
  uint64_t bytes = sizeof s + s.live.memory_bytes();
  for (uint32_t name = 0; name < s.names.size(); ++name) {
    const Name& entry = s.names[name];
    // A name stays known for as long as the index does.
    const auto symbol = s.symbol_ids.find(SymbolKey{entry.text, HashText(entry.text)});
    VARVE_CHECK(symbol != s.symbol_ids.end());
    used[*symbol] = true;
    bytes += entry.pairs.capacity() * sizeof(uint32_t) + entry.series.memory_bytes();
    for (const uint32_t pair : entry.pairs) {
      used[s.pairs[pair].symbol] = true;
      out.label_pairs += s.pairs[pair].series.empty() ? 0 : 1;
      bytes += s.pairs[pair].series.memory_bytes();
    }
  }
  out.strings_unused = static_cast<uint64_t>(std::count(used.begin(), used.end(), false));
  bytes += s.strings.bytes_allocated() + s.row_memory.bytes_allocated() +
           s.symbols.size() * sizeof(Symbol) + s.names.size() * sizeof(Name) +
           s.pairs.size() * sizeof(Pair) + s.slots.size() * sizeof(uint32_t*) +
           s.name_ids.capacity() * (sizeof(std::pair<std::string_view, uint32_t>) + 1) +
           (s.symbol_ids.capacity() + s.pair_ids.capacity()) * (sizeof(uint32_t) + 1) +
           (s.free_ordinals.capacity() + s.free_pairs.capacity()) * sizeof(uint32_t);
  for (const auto& rows : s.free_rows) bytes += rows.capacity() * sizeof(uint32_t*);
  out.memory_bytes = bytes;
  return out;
}

}  // namespace varve::index
