#include "tools/loki/syslog.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/loki/loki_app.h"
#include "tools/loki/syslog_server.h"

namespace varve::loki {
namespace {

constexpr int64_t kNow = 1'795'800'000'000'000'000;  // 2026-11-27T17:20:00Z

std::string Parsed(std::string_view line) {
  SyslogMessage message;
  ParseSyslog(line, kNow, &message);
  std::string out = Concat(
      SyslogFacility(message.facility), ".", SyslogLevel(message.severity), " ",
      message.has_time ? std::to_string((message.time_ns - kNow) / 1'000'000'000) : "-",
      " host=", message.host, " app=", message.app, " pid=", message.process, " id=", message.id);
  for (const auto& [name, value] : message.data) out += Concat(" ", name, "=", value);
  return Concat(out, " | ", message.text);
}

TEST(Syslog, Rfc5424) {
  EXPECT_EQ(Parsed("<165>1 2026-11-27T17:19:00.5Z host app 12 ID47 "
                   "[ex@1 a=\"1\" b=\"q\\\"\\]\"][o c=\"\"] \xef\xbb\xbfhello"),
            "local4.info -59 host=host app=app pid=12 id=ID47 ex@1_a=1 ex@1_b=q\"] o_c= | hello");
  EXPECT_EQ(Parsed("<34>1 - - - - - -"), "auth.critical - host= app= pid= id= | ");
  EXPECT_EQ(Parsed("<34>1 - h a - - - text - [x]"),
            "auth.critical - host=h app=a pid= id= | text - [x]");
}

TEST(Syslog, Rfc3164) {
  EXPECT_EQ(Parsed("<34>Nov 27 17:19:00 mymachine su[77]: 'su root' failed"),
            "auth.critical -60 host=mymachine app=su pid=77 id= | 'su root' failed");
  EXPECT_EQ(Parsed("<13>Nov  1 00:00:00 h cron: x"),
            "user.info -2308800 host=h app=cron pid= id= | x");
  EXPECT_EQ(Parsed("<13>2026-11-27T17:20:01+00:00 h app: x"),
            "user.info 1 host=h app=app pid= id= | x");
  EXPECT_EQ(Parsed("<0>kernel: panic"), "kern.fatal - host= app=kernel pid= id= | panic");
  // Around new year the nearest year counts.
  SyslogMessage message;
  ParseSyslog("<13>Dec 31 23:59:59 h a: x", 1'798'761'600'000'000'000 + 5'000'000'000, &message);
  EXPECT_EQ(message.time_ns, 1'798'761'599'000'000'000);
}

TEST(Syslog, AnythingIsAMessage) {
  EXPECT_EQ(Parsed(""), "user.info - host= app= pid= id= | ");
  EXPECT_EQ(Parsed("<"), "user.info - host= app= pid= id= | <");
  EXPECT_EQ(Parsed("<999>x"), "user.info - host= app= pid= id= | <999>x");
  EXPECT_EQ(Parsed("just text: yes"), "user.info - host= app= pid= id= | just text: yes");
  EXPECT_EQ(Parsed("<13>1 broken"), "user.info - host= app= pid= id= | 1 broken");
  EXPECT_EQ(Parsed("<13>1 - h a p i [x"), "user.info - host= app= pid= id= | 1 - h a p i [x");
}

TEST(Syslog, FramesBothKindsForEveryCut) {
  const std::string stream =
      "5 <1>ab<2>line one\r\n\n11 <3>with\n\nnl7 <5>end\n<4>\xff line two\n3 abc\n12x no "
      "count\nrest";
  const std::vector<std::string> expected = {
      "<1>ab", "<2>line one",  "<3>with\n\nnl", "<5>end", "<4>\xff line two",
      "abc",   "12x no count", "rest"};
  for (size_t step = 1; step <= stream.size(); ++step) {
    SyslogFramer framer(100);
    std::vector<std::string> got;
    std::string_view message;
    for (size_t i = 0; i < stream.size(); i += step) {
      framer.Add(std::string_view(stream).substr(i, step));
      while (framer.Next(&message)) got.emplace_back(message);
    }
    if (framer.Last(&message)) got.emplace_back(message);
    EXPECT_EQ(got, expected) << step;
  }
}

// What senders wrote on a socket, recorded: `logger` of util-linux 2.38.1, rsyslog 8.2302.0,
// syslog-ng 3.38.1. One connection each, or one datagram.
TEST(Syslog, WhatRealSendersWrite) {
  struct Recorded {
    std::string_view sender;
    std::string_view bytes;
    std::vector<std::string> messages;
  };
  const Recorded kRecorded[] = {
      {"logger --tcp --rfc5424",
       "<156>1 2026-11-28T13:22:55.178663+00:00 vm tagger - - [timeQuality tzKnown=\"1\" "
       "isSynced=\"0\"] with \xc3\xa9\n",
       {"local3.warn 72175 host=vm app=tagger pid= id= timeQuality_tzKnown=1 "
        "timeQuality_isSynced=0 | with \xc3\xa9"}},
      {"logger --tcp --rfc5424 --octet-count, two lines",
       "93 <13>1 2026-11-28T13:22:55.375608+00:00 vm multi - - [timeQuality tzKnown=\"1\" "
       "isSynced=\"0\"] l199 <13>1 2026-11-28T13:22:55.375775+00:00 vm multi - - [timeQuality "
       "tzKnown=\"1\" isSynced=\"0\"] l2 multi",
       {"user.info 72175 host=vm app=multi pid= id= timeQuality_tzKnown=1 timeQuality_isSynced=0 | "
        "l1",
        "user.info 72175 host=vm app=multi pid= id= timeQuality_tzKnown=1 timeQuality_isSynced=0 | "
        "l2 multi"}},
      {"logger --udp --rfc5424=notime",
       "<156>1 - vm tagger - - - no time",
       {"local3.warn - host=vm app=tagger pid= id= | no time"}},
      {"logger --rfc5424=notq,nohost",
       "<156>1 2026-11-28T13:22:55.336119+00:00 - tagger - - - no host\n",
       {"local3.warn 72175 host= app=tagger pid= id= | no host"}},
      {"logger --rfc5424 --msgid --sd-id --id",
       "<13>1 2026-11-28T13:22:55.359603+00:00 vm sdtag 10069 MID [timeQuality tzKnown=\"1\" "
       "isSynced=\"0\"][ex@1 k=\"v\" q=\"a b\"] with sd\n",
       {"user.info 72175 host=vm app=sdtag pid=10069 id=MID timeQuality_tzKnown=1 "
        "timeQuality_isSynced=0 ex@1_k=v ex@1_q=a b | with sd"}},
      {"logger --tcp --rfc3164 --octet-count",
       "50 <156>Nov 28 13:22:55 vm tagger: old and \xc3\xa9 counted",
       {"local3.warn 72175 host=vm app=tagger pid= id= | old and \xc3\xa9 counted"}},
      // The blank before the message is rsyslog's own.
      {"rsyslog, RSYSLOG_SyslogProtocol23Format, octet-counted: each with its newline",
       "59 <27>1 2026-11-28T13:22:57.513630+00:00 vm rstag - - -  one\n"
       "59 <27>1 2026-11-28T13:22:57.541895+00:00 vm rstag - - -  two\n",
       {"daemon.error 72177 host=vm app=rstag pid= id= |  one",
        "daemon.error 72177 host=vm app=rstag pid= id= |  two"}},
      {"rsyslog, RSYSLOG_ForwardFormat, octet-counted: without one",
       "54 <27>2026-11-28T13:22:57.513630+00:00 vm rstag: one [x]"
       "54 <27>2026-11-28T13:22:57.541895+00:00 vm rstag: two [x]",
       {"daemon.error 72177 host=vm app=rstag pid= id= | one [x]",
        "daemon.error 72177 host=vm app=rstag pid= id= | two [x]"}},
      {"syslog-ng, syslog(transport(tcp))",
       "80 <27>1 2026-11-28T13:23:02+00:00 vm ngtag2 - - [meta sequenceId=\"2\"] sysng old 1\n"
       "80 <27>1 2026-11-28T13:23:02+00:00 vm ngtag2 - - [meta sequenceId=\"4\"] sysng old 2\n",
       {"daemon.error 72182 host=vm app=ngtag2 pid= id= meta_sequenceId=2 | sysng old 1",
        "daemon.error 72182 host=vm app=ngtag2 pid= id= meta_sequenceId=4 | sysng old 2"}},
      {"syslog-ng, network(transport(tcp))",
       "<27>Nov 28 13:23:02 vm ngtag2: sysng old 1\n<27>Nov 28 13:23:02 vm ngtag2: sysng old 2\n",
       {"daemon.error 72182 host=vm app=ngtag2 pid= id= | sysng old 1",
        "daemon.error 72182 host=vm app=ngtag2 pid= id= | sysng old 2"}},
  };
  for (const Recorded& recorded : kRecorded) {
    SyslogFramer framer(1000);
    framer.Add(recorded.bytes);
    std::vector<std::string> got;
    std::string_view message;
    while (framer.Next(&message)) got.push_back(Parsed(message));
    if (framer.Last(&message)) got.push_back(Parsed(message));
    EXPECT_EQ(got, recorded.messages) << recorded.sender;
  }
}

TEST(Syslog, BoundsMessages) {
  SyslogFramer framer(10);
  std::string_view message;
  framer.Add(std::string(25, 'x'));
  ASSERT_TRUE(framer.Next(&message));
  EXPECT_EQ(message, std::string(10, 'x'));
  EXPECT_FALSE(framer.Next(&message));
  framer.Add("xxx\nshort\n");
  ASSERT_TRUE(framer.Next(&message));
  EXPECT_EQ(message, "short");
  EXPECT_EQ(framer.truncated(), 1u);
  framer.Add("11 aaaaaaaaaaa");
  EXPECT_FALSE(framer.Next(&message));
  EXPECT_TRUE(framer.broken());
}

class SyslogServerTest : public LokiAppTest {
 protected:
  static int Connect(int type, uint16_t port) {
    const int fd = socket(AF_INET, type, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  static bool Eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
};

TEST_F(SyslogServerTest, StoresWhatComesOverTcpAndUdp) {
  Start();
  Context context;
  context.clock = clock_;
  context.database = database_.get();
  SyslogOptions options;
  options.address = "127.0.0.1";
  options.port = 0;
  auto server = SyslogServer::Start(options, &context);
  ASSERT_TRUE(server.ok()) << server.status();
  ASSERT_EQ((*server)->tcp_port(), (*server)->udp_port());
  const int tcp = Connect(SOCK_STREAM, (*server)->tcp_port());
  const int udp = Connect(SOCK_DGRAM, (*server)->udp_port());
  const std::string text = "<11>1 2026-11-27T17:19:59Z web nginx 5 - [x y=\"z\"] over tcp\n";
  EXPECT_EQ(send(tcp, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  const std::string datagram = "<14>Nov 27 17:20:00 db postgres[9]: over udp \xff\n";
  EXPECT_EQ(send(udp, datagram.data(), datagram.size(), 0), static_cast<ssize_t>(datagram.size()));
  EXPECT_TRUE(Eventually([&] { return (*server)->messages() == 2; }));
  const std::string last = "<15>cut off";
  EXPECT_EQ(send(tcp, last.data(), last.size(), 0), static_cast<ssize_t>(last.size()));
  close(tcp);
  EXPECT_TRUE(Eventually([&] { return (*server)->messages() == 3; }));
  close(udp);
  server->reset();  // what was read is stored
  EXPECT_EQ(Stored(),
            "{app=\"nginx\", host=\"web\", job=\"syslog\", service_name=\"nginx\"} -1 over tcp "
            "{detected_level=\"error\", facility=\"user\", level=\"error\", process=\"5\", "
            "x_y=\"z\"}\n"
            "{app=\"postgres\", host=\"db\", job=\"syslog\", service_name=\"postgres\"} 0 over udp "
            "\xff {detected_level=\"info\", facility=\"user\", level=\"info\", process=\"9\"}\n"
            "{job=\"syslog\", service_name=\"syslog\"} 0 cut off {detected_level=\"debug\", "
            "facility=\"user\", level=\"debug\"}\n");
}

TEST_F(SyslogServerTest, ListensOnLoopbackOnlyUnlessTold) {
  Context context;
  SyslogOptions options;
  options.address = "0.0.0.0";
  options.port = 0;
  const auto server = SyslogServer::Start(options, &context);
  EXPECT_EQ(server.status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace varve::loki
