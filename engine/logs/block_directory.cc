#include "engine/logs/block_directory.h"

#include <algorithm>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/logs/block_format.h"

namespace varve::logs {

std::string EncodeDirectory(const BlockDirectory& directory) {
  std::string out;
  PutVarint(&out, directory.metadata_names.size());
  for (const std::string& name : directory.metadata_names) PutString(&out, name);
  PutVarint(&out, directory.groups.size());
  size_t part = 0;
  uint32_t stream = 0;
  int64_t time = 0;
  for (uint32_t g = 0; g < directory.groups.size(); ++g) {
    const LogsGroup& group = directory.groups[g];
    PutVarint(&out, group.time_bytes);
    PutVarint(&out, group.text_bytes);
    PutVarint(&out, group.metadata_bytes);
    PutVarint(&out, group.filter_bytes);
    PutVarint(&out, group.metadata_names.size());
    uint32_t last = 0;
    for (const uint32_t name : group.metadata_names) {
      PutVarint(&out, name - last);
      last = name;
    }
    size_t end = part;
    while (end < directory.parts.size() && directory.parts[end].group == g) ++end;
    PutVarint(&out, end - part);
    for (; part < end; ++part) {
      const LogsPart& p = directory.parts[part];
      PutVarint(&out, p.stream - stream);
      PutVarint(&out, p.rows);
      PutVarint(&out, p.line_bytes);
      PutSigned(&out, WrapSub(p.min_time_ns, time));
      PutVarint(&out, static_cast<uint64_t>(WrapSub(p.max_time_ns, p.min_time_ns)));
      stream = p.stream;
      time = p.max_time_ns;
    }
  }
  return out;
}

Status DecodeDirectory(std::string_view bytes, uint32_t streams, uint64_t groups_bytes,
                       uint64_t filters_bytes, std::string_view file, uint64_t offset,
                       BlockDirectory* out) {
  ByteReader in(bytes);
  const auto malformed = [&](std::string_view what) {
    return DataLossError(file, offset + in.position(), what);
  };
  const uint64_t names = in.Count(1);
  for (uint64_t i = 0; i < names; ++i) {
    std::string name(in.String());
    if (!in.ok() || (i > 0 && name <= out->metadata_names.back())) {
      return malformed("directory: bad metadata names");
    }
    out->metadata_names.push_back(std::move(name));
  }
  const uint64_t groups = in.Count(6);
  uint64_t at = 0;
  uint64_t filter_at = 0;
  uint32_t stream = 0;
  int64_t time = 0;
  for (uint64_t g = 0; g < groups; ++g) {
    LogsGroup group;
    group.time_bytes = in.Varint();
    group.text_bytes = in.Varint();
    group.metadata_bytes = in.Varint();
    group.filter_bytes = in.Varint();
    uint64_t name = 0;
    const uint64_t group_names = in.Count(1);
    for (uint64_t i = 0; i < group_names; ++i) {
      const uint64_t step = in.Varint();
      if (step > names || (i > 0 && step == 0)) return malformed("directory: bad metadata names");
      name += step;
      if (name >= names) return malformed("directory: bad metadata names");
      group.metadata_names.push_back(static_cast<uint32_t>(name));
    }
    const uint64_t limit = std::max(groups_bytes, filters_bytes);
    if (!in.ok() || group.time_bytes > limit || group.text_bytes > limit ||
        group.metadata_bytes > limit || group.filter_bytes > limit) {
      return malformed("directory: bad group");
    }
    group.offset = at;
    group.filter_offset = filter_at;
    at += group.bytes();
    filter_at += group.filter_bytes;
    if (at > groups_bytes || filter_at > filters_bytes) {
      return malformed("directory: groups do not fit");
    }
    group.first_part = static_cast<uint32_t>(out->parts.size());
    const uint64_t parts = in.Count(5);
    if (parts == 0) return malformed("directory: empty group");
    for (uint64_t i = 0; i < parts; ++i) {
      LogsPart part;
      const uint64_t step = in.Varint();
      const uint64_t rows = in.Varint();
      part.line_bytes = in.Varint();
      part.min_time_ns = WrapAdd(time, in.Signed());
      const uint64_t span = in.Varint();
      part.max_time_ns = WrapAdd(part.min_time_ns, static_cast<int64_t>(span));
      if (!in.ok() || step > streams || rows == 0 || rows > kGroupRowsMax ||
          part.line_bytes > kGroupRawBytesMax || part.max_time_ns < part.min_time_ns ||
          static_cast<uint64_t>(WrapSub(part.max_time_ns, part.min_time_ns)) != span ||
          (i > 0 && step == 0)) {
        return malformed("directory: bad part");
      }
      time = part.max_time_ns;
      part.group = static_cast<uint32_t>(g);
      part.row = group.rows;
      part.rows = static_cast<uint32_t>(rows);
      const bool first = out->parts.empty();
      // Every stream has a part, in order.
      if (first ? step != 0 : step > 1) return malformed("directory: a stream without rows");
      part.stream = stream += static_cast<uint32_t>(step);
      if (stream >= streams) return malformed("directory: too many streams");
      if (first || step == 1) {
        out->stream_part.push_back(static_cast<uint32_t>(out->parts.size()));
      } else if (part.min_time_ns < out->parts.back().max_time_ns) {
        return malformed("directory: parts of a stream are not in order");
      }
      group.rows += part.rows;
      group.line_bytes += part.line_bytes;
      if (group.rows > kGroupRowsMax || group.line_bytes > kGroupRawBytesMax) {
        return malformed("directory: group is too large");
      }
      group.min_time_ns = i == 0 ? part.min_time_ns : std::min(group.min_time_ns, part.min_time_ns);
      group.max_time_ns = i == 0 ? part.max_time_ns : std::max(group.max_time_ns, part.max_time_ns);
      out->parts.push_back(part);
    }
    out->groups.push_back(std::move(group));
  }
  if (!in.ok() || in.left() != 0) return malformed("directory: does not end");
  if (at != groups_bytes || filter_at != filters_bytes || out->stream_part.size() != streams) {
    return malformed("directory: does not fit the sections");
  }
  out->stream_part.push_back(static_cast<uint32_t>(out->parts.size()));
  return absl::OkStatus();
}

}  // namespace varve::logs
