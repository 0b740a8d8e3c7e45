#include "tools/ingest/remote_write.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <snappy.h>

#include <functional>
#include <protozero/pbf_writer.hpp>
#include <thread>

#include "engine/base/clock.h"
#include "engine/base/strings.h"
#include "tests/ingest/fake_database.h"
#include "tests/ingest/shared_data.h"

namespace varve::ingest {
namespace {

using protozero::pbf_writer;
using ::testing::HasSubstr;

constexpr int64_t kNow = 1'795'000'000'000;
using Pairs = std::vector<std::pair<std::string, std::string>>;
using Fill = std::function<void(pbf_writer&)>;

std::string Snappy(std::string_view bytes) {
  std::string out;
  snappy::Compress(bytes.data(), bytes.size(), &out);
  return out;
}

std::string Message(const Fill& fill) {
  std::string out;
  pbf_writer writer(out);
  fill(writer);
  return out;
}

void AddLabels(pbf_writer& series, const Pairs& labels, uint32_t field = 1) {
  for (const auto& [name, value] : labels) {
    pbf_writer label(series, field);
    label.add_string(1, name);
    label.add_string(2, value);
  }
}
void AddSample(pbf_writer& series, double value, int64_t time_ms) {
  pbf_writer sample(series, 2);
  sample.add_double(1, value);
  sample.add_int64(2, time_ms);
}
std::string SeriesV1(const Pairs& labels, const std::vector<std::pair<int64_t, double>>& samples) {
  return Message([&](pbf_writer& series) {
    AddLabels(series, labels);
    for (const auto& [time, value] : samples) AddSample(series, value, time);
  });
}
std::string RequestV1(const std::vector<std::string>& series) {
  return Message([&](pbf_writer& request) {
    for (const std::string& bytes : series) request.add_message(1, bytes);
  });
}

/// Builds 2.0 requests: interns symbols as a sender does.
struct V2 {
  std::vector<std::string> symbols{""};
  std::string series;

  uint32_t Symbol(const std::string& text) {
    for (uint32_t i = 0; i < symbols.size(); ++i) {
      if (symbols[i] == text) return i;
    }
    symbols.push_back(text);
    return static_cast<uint32_t>(symbols.size() - 1);
  }
  void Add(const Pairs& labels, const Fill& fill) {
    std::vector<uint32_t> refs;
    for (const auto& [name, value] : labels) {
      refs.push_back(Symbol(name));
      refs.push_back(Symbol(value));
    }
    pbf_writer request(series);
    pbf_writer message(request, 5);
    message.add_packed_uint32(1, refs.begin(), refs.end());
    fill(message);
  }
  std::string Body() const {
    std::string out;
    pbf_writer request(out);
    for (const std::string& symbol : symbols) request.add_string(4, symbol);
    return out + series;
  }
};

class RemoteWrite : public ::testing::Test {
 protected:
  RemoteWrite() : context_(database_, {}, std::make_shared<ManualClock>(kNow)) {}

  HttpOutcome Post(std::string_view body, std::string_view type = "application/x-protobuf",
                   std::string_view encoding = "snappy") {
    RemoteWriteRequest request;
    request.content_type = type;
    request.content_encoding = encoding;
    request.body = body;
    return HandleRemoteWrite(context_, request);
  }
  HttpOutcome PostV1(const std::vector<std::string>& series) {
    return Post(Snappy(RequestV1(series)));
  }
  HttpOutcome PostV2(const V2& request) {
    return Post(Snappy(request.Body()),
                "application/x-protobuf;proto=io.prometheus.write.v2.Request");
  }
  static std::string Header(const HttpOutcome& outcome, std::string_view name) {
    for (const auto& [key, value] : outcome.headers) {
      if (key == name) return value;
    }
    return "";
  }
  static std::string Written(const HttpOutcome& outcome) {
    return Header(outcome, "X-Prometheus-Remote-Write-Samples-Written") + "/" +
           Header(outcome, "X-Prometheus-Remote-Write-Histograms-Written") + "/" +
           Header(outcome, "X-Prometheus-Remote-Write-Exemplars-Written");
  }

  FakeDatabase database_;
  IngestContext context_;
};

TEST_F(RemoteWrite, ContentTypesAndEncodings) {
  const std::string body = Snappy(RequestV1({SeriesV1({{"__name__", "a"}}, {{kNow, 1}})}));
  const std::string v2 = Snappy(V2().Body());
  struct Case {
    std::string_view type, encoding;
    bool is_v2;
    int status;
  };
  const Case cases[] = {
      {"application/x-protobuf", "snappy", false, 204},
      {"", "", false, 204},
      {"application/x-protobuf;proto=prometheus.WriteRequest", "snappy", false, 204},
      {" application/x-protobuf ; proto=prometheus.WriteRequest ", "Snappy", false, 204},
      {"application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy", true, 204},
      {"application/x-protobuf;charset=x;proto=io.prometheus.write.v2.Request", "", true, 204},
      {"application/x-protobuf;proto=yolo", "snappy", false, 415},
      {"application/x-protobuf;proto", "snappy", false, 415},
      {"application/json", "snappy", false, 415},
      {"application/x-protobuf", "gzip", false, 415},
      {"application/x-protobuf", "lzw", false, 415},
      {"application/x-protobuf", "identity", false, 415},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Post(c.is_v2 ? v2 : body, c.type, c.encoding).status, c.status)
        << c.type << " " << c.encoding;
  }
}

TEST_F(RemoteWrite, StoresWhatVersion1Sends) {
  const std::string histogram = Message([](pbf_writer& series) {
    AddLabels(series, {{"__name__", "h"}});
    pbf_writer h(series, 4);
    h.add_uint64(1, 6);
    h.add_double(3, 2.5);
    h.add_sint32(4, 3);
    h.add_double(5, 0.001);
    h.add_uint64(6, 1);
    {
      pbf_writer span(h, 11);
      span.add_sint32(1, -2);
      span.add_uint32(2, 2);
    }
    const std::vector<int64_t> deltas{2, 1};
    h.add_packed_sint64(12, deltas.begin(), deltas.end());
    h.add_enum(14, 3);
    h.add_int64(15, kNow);
  });
  const std::string exemplar = Message([](pbf_writer& series) {
    AddLabels(series, {{"zone", "x"}, {"__name__", "a"}, {"empty", ""}});  // any order
    AddSample(series, 1.5, kNow);
    AddSample(series, StaleNan(), kNow + 1);
    {
      pbf_writer e(series, 3);
      AddLabels(e, {{"trace_id", "t"}});
      e.add_double(2, 0.25);
      e.add_int64(3, kNow);
    }
    pbf_writer bad(series, 3);
    AddLabels(bad, {{"a", "1"}, {"a", "2"}});
  });
  std::string body = RequestV1({exemplar, histogram});
  {
    pbf_writer request(body);
    pbf_writer metadata(request, 3);
    metadata.add_enum(1, 1);
    metadata.add_string(2, "a");
    metadata.add_string(4, "Help.");
    metadata.add_string(5, "s");
  }
  const HttpOutcome outcome = Post(Snappy(body));
  EXPECT_EQ(outcome.status, 204) << outcome.body;
  EXPECT_EQ(Written(outcome), "2/1/1");
  ASSERT_TRUE(database_.series.contains("a{zone=\"x\"}"));
  const auto& a = database_.series.at("a{zone=\"x\"}");
  EXPECT_EQ(a.samples.at(kNow).value, 1.5);
  EXPECT_TRUE(IsStaleNan(a.samples.at(kNow + 1).value));
  ASSERT_EQ(a.exemplars.size(), 1u);
  EXPECT_EQ(a.exemplars[0].labels.Get("trace_id"), "t");
  const Histogram& h = database_.series.at("h").histograms.at(kNow);
  EXPECT_EQ(h.count, 6u);
  EXPECT_EQ(h.schema, 3);
  EXPECT_EQ(h.reset_hint, CounterResetHint::kGauge);
  EXPECT_EQ(h.positive_spans, (std::vector<BucketSpan>{{-2, 2}}));
  EXPECT_EQ(h.positive_deltas, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(database_.metadata.at("a"), (Metadata{MetricType::kCounter, "Help.", "s"}));
}

TEST_F(RemoteWrite, KnownSeriesGoByReference) {
  const auto post = [&](int64_t time) {
    return PostV1({SeriesV1({{"__name__", "a"}, {"b", "c"}}, {{time, 1}}),
                   SeriesV1({{"__name__", "d"}}, {{time, 2}})});
  };
  EXPECT_EQ(post(kNow).status, 204);
  EXPECT_EQ(database_.by_labels, 2u);
  EXPECT_EQ(post(kNow + 1).status, 204);
  EXPECT_EQ(database_.by_labels, 2u);
  EXPECT_EQ(database_.by_ref, 2u);
  database_.DropRefs();
  EXPECT_EQ(post(kNow + 2).status, 204);
  EXPECT_EQ(context_.counters().stale_ref_retries, 1u);
  EXPECT_EQ(database_.by_labels, 4u);
  EXPECT_EQ(post(kNow + 3).status, 204);
  EXPECT_EQ(database_.by_labels, 4u);
  EXPECT_EQ(database_.series.at("a{b=\"c\"}").samples.size(), 4u);
  EXPECT_EQ(database_.series.at("d").samples.size(), 4u);
}

TEST_F(RemoteWrite, LabelsScatteredOverTheMessage) {
  for (int64_t i = 0; i < 3; ++i) {
    const std::string series = Message([&](pbf_writer& out) {
      AddLabels(out, {{"__name__", "a"}});
      AddSample(out, 1, kNow + i);
      AddLabels(out, {{"b", "c"}});
      AddSample(out, 2, kNow + 10 + i);
    });
    EXPECT_EQ(PostV1({series}).status, 204);
  }
  EXPECT_EQ(database_.series.at("a{b=\"c\"}").samples.size(), 6u);
  EXPECT_EQ(database_.by_ref, 2u);
}

TEST_F(RemoteWrite, Version1IsAllOrNothing) {
  ASSERT_EQ(PostV1({SeriesV1({{"__name__", "a"}}, {{kNow, 1}})}).status, 204);
  const HttpOutcome duplicate = PostV1(
      {SeriesV1({{"__name__", "b"}}, {{kNow, 1}}), SeriesV1({{"__name__", "a"}}, {{kNow, 2}})});
  EXPECT_EQ(duplicate.status, 400);
  EXPECT_THAT(duplicate.body, HasSubstr("duplicate sample"));
  EXPECT_EQ(database_.sample_count(), 1u);

  const HttpOutcome future = PostV1({SeriesV1({{"__name__", "b"}}, {{kNow + 601'000, 1}})});
  EXPECT_EQ(future.status, 400);
  EXPECT_THAT(future.body, HasSubstr("too far in the future"));
  EXPECT_EQ(PostV1({SeriesV1({{"__name__", "b"}}, {{kNow + 600'000, 1}})}).status, 204);
}

TEST_F(RemoteWrite, Version1InvalidLabels) {
  const std::string good = SeriesV1({{"__name__", "good"}}, {{kNow, 1}});
  // Nameless series are dropped, the rest is stored: what Prometheus does.
  EXPECT_EQ(PostV1({SeriesV1({{"b", "c"}}, {{kNow, 1}}), good}).status, 204);
  EXPECT_EQ(PostV1({SeriesV1({{"__name__", "a"}, {"", "c"}}, {{kNow, 1}})}).status, 204);
  EXPECT_EQ(context_.counters().series_invalid_labels, 2u);
  EXPECT_EQ(database_.sample_count(), 1u);
  struct Case {
    Pairs labels;
    std::string_view text;
  };
  const Case cases[] = {
      {{{"__name__", "a"}, {"b", "1"}, {"b", "2"}}, "duplicated label \"b\""},
      {{{"__name__", "a"}, {"b", "\xff"}}, "value \"\\xff\" of label \"b\" is not UTF-8"},
      {{{"__name__", "a"}, {"\xff", "b"}}, "label name \"\\xff\" is not UTF-8"},
  };
  for (const Case& c : cases) {
    const HttpOutcome outcome =
        PostV1({SeriesV1({{"__name__", "other"}}, {{kNow, 1}}), SeriesV1(c.labels, {{kNow, 1}})});
    EXPECT_EQ(outcome.status, 400);
    EXPECT_THAT(outcome.body, HasSubstr(std::string(c.text)));
    EXPECT_THAT(outcome.body, HasSubstr("series 1 at byte"));
    EXPECT_EQ(database_.sample_count(), 1u);
  }
}

TEST_F(RemoteWrite, Version2StoresEverything) {
  V2 request;
  const auto fill = [&](int64_t time) {
    return [&request, time](pbf_writer& series) {
      {
        pbf_writer sample(series, 2);
        sample.add_double(1, 5);
        sample.add_int64(2, time);
        sample.add_int64(3, time - 1000);
      }
      {
        pbf_writer exemplar(series, 4);
        const std::vector<uint32_t> refs{request.Symbol("trace_id"), request.Symbol("t")};
        exemplar.add_packed_uint32(1, refs.begin(), refs.end());
        exemplar.add_double(2, 0.5);
        exemplar.add_int64(3, time);
      }
      pbf_writer metadata(series, 5);
      metadata.add_enum(1, 3);
      metadata.add_uint32(3, request.Symbol("Help."));
      metadata.add_uint32(4, request.Symbol("seconds"));
    };
  };
  request.Add({{"__name__", "x_bucket"}, {"le", "1.0"}}, fill(kNow));
  request.Add({{"__name__", "x_count"}}, fill(kNow));
  request.Add({{"__name__", "f"}}, [](pbf_writer& series) {
    pbf_writer h(series, 3);
    h.add_double(2, 3.5);
    h.add_double(3, 1);
    h.add_sint32(4, kCustomBucketsSchema);
    {
      pbf_writer span(h, 11);
      span.add_sint32(1, 0);
      span.add_uint32(2, 2);
    }
    const std::vector<double> counts{1.5, 2};
    h.add_packed_double(13, counts.begin(), counts.end());
    h.add_int64(15, kNow);
    const std::vector<double> bounds{1};
    h.add_packed_double(16, bounds.begin(), bounds.end());
    h.add_int64(17, kNow - 7);
  });
  for (int round = 0; round < 2; ++round) {
    const HttpOutcome outcome = PostV2(request);
    EXPECT_EQ(outcome.status, 204) << outcome.body;
    EXPECT_EQ(Written(outcome), "2/1/2");
  }
  EXPECT_EQ(database_.by_labels, 3u);
  EXPECT_EQ(database_.by_ref, 3u);
  const auto& bucket = database_.series.at("x_bucket{le=\"1.0\"}");
  EXPECT_EQ(bucket.samples.at(kNow).value, 5);
  EXPECT_EQ(bucket.samples.at(kNow).start_ms, kNow - 1000);
  EXPECT_EQ(bucket.exemplars[0].labels.Get("trace_id"), "t");
  EXPECT_EQ(database_.metadata.size(), 1u);
  EXPECT_EQ(database_.metadata.at("x"), (Metadata{MetricType::kHistogram, "Help.", "seconds"}));
  const Histogram& h = database_.series.at("f").histograms.at(kNow);
  EXPECT_TRUE(h.is_float);
  EXPECT_EQ(h.custom_values, std::vector<double>{1});
  EXPECT_EQ(h.float_count, 3.5);

  // The same strings under other numbers are the same series.
  V2 other;
  other.Symbol("padding");
  other.Add({{"__name__", "x_count"}}, [](pbf_writer& s) { AddSample(s, 5, kNow + 1); });
  EXPECT_EQ(PostV2(other).status, 204);
  EXPECT_EQ(database_.by_ref, 4u);
}

TEST_F(RemoteWrite, Version2IsPartial) {
  ASSERT_EQ(PostV1({SeriesV1({{"__name__", "dup"}}, {{kNow, 1}})}).status, 204);
  V2 request;
  const auto sample = [](int64_t time, double value) {
    return [=](pbf_writer& series) { AddSample(series, value, time); };
  };
  request.Add({{"__name__", "good"}}, sample(kNow, 1));
  request.Add({{"__name__", "dup"}}, sample(kNow, 2));
  request.Add({{"b", "c"}}, sample(kNow, 1));
  request.Add({{"__name__", "a"}, {"b", "1"}, {"b", "2"}}, sample(kNow, 1));
  request.Add({{"__name__", "empty"}}, [](pbf_writer&) {});
  request.Add({{"__name__", "late"}}, sample(kNow + 3'600'000, 1));
  {
    pbf_writer out(request.series);
    pbf_writer series(out, 5);
    const std::vector<uint32_t> odd{1};
    series.add_packed_uint32(1, odd.begin(), odd.end());
    AddSample(series, 1, kNow);
  }
  {
    pbf_writer out(request.series);
    pbf_writer series(out, 5);
    const std::vector<uint32_t> outside{1, 9999};
    series.add_packed_uint32(1, outside.begin(), outside.end());
    AddSample(series, 1, kNow);
  }
  const HttpOutcome outcome = PostV2(request);
  EXPECT_EQ(outcome.status, 400);
  EXPECT_EQ(Written(outcome), "1/0/0");
  for (const std::string_view text :
       {"duplicate sample for timestamp for series dup", "no metric name", "duplicated label \"b\"",
        "must contain at least one sample or histogram for series empty",
        "too far in the future for series late", "invalid labelRefs length 1",
        "outside of symbols table"}) {
    EXPECT_THAT(outcome.body, HasSubstr(std::string(text)));
  }
  EXPECT_EQ(std::count(outcome.body.begin(), outcome.body.end(), '\n'), 7);
  EXPECT_EQ(database_.series.at("good").samples.size(), 1u);
  EXPECT_EQ(database_.sample_count(), 2u);
}

TEST_F(RemoteWrite, StoreErrors) {
  struct Case {
    Status error;
    int status;
  };
  const Case cases[] = {
      {absl::ResourceExhaustedError("no space left"), 507},
      {absl::FailedPreconditionError("read-only"), 503},
      {absl::UnavailableError("I/O"), 503},
      {absl::InternalError("bug"), 500},
      {absl::OutOfRangeError("too old sample"), 400},
  };
  for (const Case& c : cases) {
    database_.append_error = c.error;
    const HttpOutcome v1 = PostV1({SeriesV1({{"__name__", "a"}}, {{kNow, 1}})});
    EXPECT_EQ(v1.status, c.status);
    EXPECT_EQ(!Header(v1, "Retry-After").empty(), c.status == 507 || c.status == 503);
    V2 request;
    request.Add({{"__name__", "a"}}, [](pbf_writer& s) { AddSample(s, 1, kNow); });
    const HttpOutcome v2 = PostV2(request);
    EXPECT_EQ(v2.status, c.status);
    EXPECT_EQ(Written(v2), "0/0/0");
  }
}

TEST_F(RemoteWrite, BombsAreRefusedBeforeAllocation) {
  // A block that declares 4 GiB and holds five bytes.
  const HttpOutcome declared = Post(std::string_view("\xff\xff\xff\xff\x0f"));
  EXPECT_EQ(declared.status, 413);
  EXPECT_THAT(declared.body, HasSubstr("exceeds the limit of 33554432"));
  // A length that the body cannot hold, below the limit.
  const HttpOutcome lie =
      Post(std::string_view("\x80\x80\x80\x0f"
                            "abc",
                            7));
  EXPECT_EQ(lie.status, 400);
  EXPECT_THAT(lie.body, HasSubstr("cannot come from a body of 7"));
  EXPECT_EQ(Post("not snappy at all").status, 400);
  EXPECT_EQ(Post("").status, 400);
}

TEST_F(RemoteWrite, FaultsNameFieldAndOffset) {
  struct Case {
    std::string body, text;
  };
  const std::string series = SeriesV1({{"__name__", "a"}}, {{kNow, 1}});
  const Case cases[] = {
      {std::string("\x0a\x7f", 2),
       "malformed protobuf at byte 0: WriteRequest field 1: length 127"},
      {std::string("\x08\x01", 2), "at byte 0: WriteRequest field 1: wire type 0 instead of 2"},
      {std::string("\x0b", 1), "field 1: wire type 3 instead of 2"},
      {std::string("\x3b\x3b\x3b\x3c", 4), "groups are not supported"},
      {std::string("\x3e", 1), "invalid wire type"},
      {std::string("\x00", 1), "invalid tag"},
      {std::string("\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12), "varint longer than"},
      {RequestV1({series, std::string("\x0a\x02\x0a\x05", 4)}), "Label field 1: length 5"},
      {RequestV1({series, series + std::string("\x12\x03\x09\x01\x02", 5)}),
       "Sample field 1: truncated double"},
      {RequestV1({series, series + std::string("\x12\x02\x11\x02", 4)}),
       "Sample field 2: wire type 1"},
      {RequestV1({series, series + std::string("\x22\x04\x5a\x02\x0d\x01", 6)}),
       "BucketSpan field 1: wire type 5"},
  };
  for (const Case& c : cases) {
    const HttpOutcome outcome = Post(Snappy(c.body));
    EXPECT_EQ(outcome.status, 400) << c.text;
    EXPECT_THAT(outcome.body, HasSubstr(c.text));
    EXPECT_EQ(database_.sample_count(), 0u);
  }
}

TEST_F(RemoteWrite, ManyEmptyRowsAreRefused) {
  std::string samples = SeriesV1({{"__name__", "a"}}, {});
  for (int i = 0; i < 5'000'000; ++i) samples.append("\x12\x00", 2);
  const HttpOutcome outcome = PostV1({samples});
  EXPECT_EQ(outcome.status, 400);
  EXPECT_THAT(outcome.body, HasSubstr("more than 4000000 samples"));
}

TEST_F(RemoteWrite, EveryPrefixAndBitFlipEndsInAnAnswer) {
  V2 v2;
  v2.Add({{"__name__", "a"}, {"b", "c"}}, [](pbf_writer& s) {
    AddSample(s, 1, kNow);
    pbf_writer h(s, 3);
    h.add_uint64(1, 1);
    pbf_writer span(h, 11);
    span.add_uint32(2, 1);
  });
  const std::string bodies[] = {RequestV1({SeriesV1({{"__name__", "a"}, {"b", "c"}}, {{kNow, 1}}),
                                           SeriesV1({{"__name__", "d"}}, {{kNow, 1}})}),
                                v2.Body()};
  for (const std::string& body : bodies) {
    for (const std::string_view type :
         {"application/x-protobuf",
          "application/x-protobuf;proto=io.prometheus.write.v2.Request"}) {
      for (size_t size = 0; size <= body.size(); ++size) {
        const HttpOutcome outcome = Post(Snappy(body.substr(0, size)), type);
        EXPECT_TRUE(outcome.status == 204 || outcome.status == 400) << outcome.status;
      }
      for (size_t bit = 0; bit < body.size() * 8; ++bit) {
        std::string flipped = body;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        const HttpOutcome outcome = Post(Snappy(flipped), type);
        EXPECT_TRUE(outcome.status == 204 || outcome.status == 400) << outcome.status;
      }
      const std::string packed = Snappy(body);
      for (size_t size = 0; size < packed.size(); ++size) {
        EXPECT_EQ(Post(packed.substr(0, size), type).status, 400);
      }
    }
  }
}

TEST_F(RemoteWrite, ManyThreadsShareTheCache) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 30; ++round) {
        std::vector<std::string> series;
        for (int i = 0; i < 200; ++i) {
          series.push_back(SeriesV1({{"__name__", "m" + std::to_string((i + t * 50) % 300)}},
                                    {{kNow + round * 4 + t - 1000, 1}}));
        }
        EXPECT_EQ(PostV1(series).status, 204);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(context_.counters().samples, 4u * 30 * 200);
  EXPECT_EQ(database_.sample_count(), 4u * 30 * 200);
}

TEST(SeriesCacheTest, RemembersReplacesAndStaysBounded) {
  SeriesCache cache(4000);
  const auto key = [](uint64_t i) { return SeriesKey{i * 0x9e3779b97f4a7c15, i}; };
  for (uint64_t i = 1; i <= 100'000; ++i) {
    const SeriesKey k = key(i);
    const SeriesRef ref = i;
    cache.Put(std::span(&k, 1), std::span(&ref, 1));
    // Key 1 is in use all the time, so it must survive every turn.
    const SeriesKey used = key(1);
    SeriesRef found = 0;
    cache.Find(std::span(&used, 1), std::span(&found, 1));
    ASSERT_EQ(found, 1u) << i;
  }
  EXPECT_LE(cache.entries(), 4500u);
  size_t present = 0;
  for (uint64_t i = 99'000; i <= 100'000; ++i) {
    const SeriesKey k = key(i);
    SeriesRef found = 0;
    cache.Find(std::span(&k, 1), std::span(&found, 1));
    EXPECT_TRUE(found == 0 || found == i);
    present += found == i;
  }
  EXPECT_EQ(present, 1001u);
  const SeriesKey k = key(100'000);
  const SeriesRef other = 77;
  cache.Put(std::span(&k, 1), std::span(&other, 1));
  SeriesRef found = 0;
  cache.Find(std::span(&k, 1), std::span(&found, 1));
  EXPECT_EQ(found, 77u);
  cache.Clear();
  cache.Find(std::span(&k, 1), std::span(&found, 1));
  EXPECT_EQ(found, 0u);
}

TEST(RecordedRequests, AllAreAccepted) {
  const auto shared = SharedData("recorded remote-write requests");
  if (!shared) return;
  std::string tar;
  ReadZstd(*shared / "data" / "metrics" / "remote-write-requests.tar.zst",
           [&](std::string_view piece) { tar += piece; });
  FakeDatabase database;
  IngestOptions options;
  options.future_ms_max = 0;
  IngestContext context(database, options);
  size_t requests = 0;
  std::map<std::string, std::string_view> bodies;
  ReadTar(tar, [&](const std::string& name, std::string_view bytes) {
    if (name.ends_with(".snappy")) bodies[name] = bytes;
  });
  for (const auto& [name, bytes] : bodies) {
    RemoteWriteRequest request;
    request.content_type = "application/x-protobuf";
    request.content_encoding = "snappy";
    request.body = bytes;
    const HttpOutcome outcome = HandleRemoteWrite(context, request);
    EXPECT_EQ(outcome.status, 204) << name << outcome.body;
    ++requests;
  }
  std::printf("%zu requests, %llu samples, %zu series\n", requests,
              static_cast<unsigned long long>(context.counters().samples.load()),
              database.series.size());
  EXPECT_GT(requests, 1000u);
  EXPECT_GT(database.by_ref, database.by_labels);
}

}  // namespace
}  // namespace varve::ingest
