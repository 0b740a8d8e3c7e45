#include "tools/server/api/openapi_schemas.h"

namespace varve::api {
namespace {

constexpr std::string_view kComponents = R"yaml(components:
  responses:
    Error:
      description: "An error: what kind, and what"
      content:
        application/json:
          schema: {$ref: "#/components/schemas/Error"}
  schemas:
    Success:
      type: object
      required: [status, data]
      properties:
        status: {const: success}
        warnings: {type: array, items: {type: string}}
        infos: {type: array, items: {type: string}}
    Error:
      type: object
      required: [status, errorType, error]
      properties:
        status: {const: error}
        errorType:
          enum: [bad_data, execution, timeout, canceled, internal, unavailable, not_found, not_acceptable]
        error: {type: string}
        warnings: {type: array, items: {type: string}}
        infos: {type: array, items: {type: string}}

    Time:
      description: Unix seconds, milliseconds behind the point
      type: number
    Value:
      description: A float as text; NaN, +Inf and -Inf are others of its values
      type: string
    Labels:
      type: object
      additionalProperties: {type: string}
    Point:
      description: Time and value
      type: array
      prefixItems: [{$ref: "#/components/schemas/Time"}, {$ref: "#/components/schemas/Value"}]
      minItems: 2
      maxItems: 2
    Histogram:
      type: object
      required: [count, sum]
      properties:
        count: {$ref: "#/components/schemas/Value"}
        sum: {$ref: "#/components/schemas/Value"}
        buckets:
          description: "Those that are not empty: which bounds belong to it (0 the upper, 1 the lower, 2 none, 3 both), lower, upper, count"
          type: array
          items:
            type: array
            prefixItems: [{type: integer}, {$ref: "#/components/schemas/Value"}, {$ref: "#/components/schemas/Value"}, {$ref: "#/components/schemas/Value"}]
            minItems: 4
            maxItems: 4
    HistogramPoint:
      description: Time and native histogram
      type: array
      prefixItems: [{$ref: "#/components/schemas/Time"}, {$ref: "#/components/schemas/Histogram"}]
      minItems: 2
      maxItems: 2

    QueryResult:
      type: object
      required: [resultType, result]
      properties:
        stats: {$ref: "#/components/schemas/QueryStatistics"}
      oneOf:
      - properties: {resultType: {const: scalar}, result: {$ref: "#/components/schemas/Point"}}
      - properties: {resultType: {const: string}, result: {$ref: "#/components/schemas/Point"}}
      - properties: {resultType: {const: vector}, result: {type: array, items: {$ref: "#/components/schemas/Sample"}}}
      - properties: {resultType: {const: matrix}, result: {type: array, items: {$ref: "#/components/schemas/Series"}}}
    Sample:
      type: object
      required: [metric]
      properties:
        metric: {$ref: "#/components/schemas/Labels"}
        value: {$ref: "#/components/schemas/Point"}
        histogram: {$ref: "#/components/schemas/HistogramPoint"}
    Series:
      type: object
      required: [metric]
      properties:
        metric: {$ref: "#/components/schemas/Labels"}
        values: {type: array, items: {$ref: "#/components/schemas/Point"}}
        histograms: {type: array, items: {$ref: "#/components/schemas/HistogramPoint"}}
    QueryStatistics:
      type: object
      required: [timings, samples]
      properties:
        timings:
          type: object
          required: [evalTotalTime, resultSortTime, queryPreparationTime, innerEvalTime, execQueueTime, execTotalTime]
          additionalProperties: {description: Seconds, type: number}
        samples:
          type: object
          required: [totalQueryableSamples, peakSamples]
          properties:
            totalQueryableSamples: {type: integer}
            peakSamples: {type: integer}
            totalQueryableSamplesPerStep:
              type: array
              items:
                type: array
                prefixItems: [{$ref: "#/components/schemas/Time"}, {type: integer}]
                minItems: 2
                maxItems: 2
        cachedSteps: {type: integer}
        series: {type: integer}
        samplesRead: {type: integer}
        peakBytes: {type: integer}
        operators:
          description: "With stats=all: the operators of the plan as they ran, from the root"
          type: array
          items:
            type: object
            required: [name, depth, series, tiles, points, samples, chunks, chunksEdgeOnly, seconds]
            properties:
              name: {type: string}
              depth: {type: integer}
              series: {type: integer}
              tiles: {type: integer}
              points: {type: integer}
              samples: {type: integer}
              chunks: {type: integer}
              chunksEdgeOnly: {type: integer}
              seconds: {type: number}
    Exemplar:
      type: object
      required: [labels, value, timestamp]
      properties:
        labels: {$ref: "#/components/schemas/Labels"}
        value: {$ref: "#/components/schemas/Value"}
        timestamp: {$ref: "#/components/schemas/Time"}
    ExemplarSeries:
      type: array
      items:
        type: object
        required: [seriesLabels, exemplars]
        properties:
          seriesLabels: {$ref: "#/components/schemas/Labels"}
          exemplars: {type: array, items: {$ref: "#/components/schemas/Exemplar"}}
    Text: {type: string}
    Texts: {type: array, items: {type: string}}
    SyntaxTree:
      description: A node of a parsed expression; what else it has depends on its type
      type: object
      required: [type]
      properties: {type: {type: string}}
    LabelSets: {type: array, items: {$ref: "#/components/schemas/Labels"}}
    Metadata:
      description: By metric family
      type: object
      additionalProperties:
        type: array
        items:
          type: object
          required: [type, unit, help]
          properties:
            type: {type: string}
            unit: {type: string}
            help: {type: string}

    Targets:
      type: object
      required: [activeTargets, droppedTargets, droppedTargetCounts]
      properties:
        activeTargets:
          type: array
          items:
            type: object
            required: [discoveredLabels, labels, scrapePool, scrapeUrl, globalUrl, lastError, lastScrape, lastScrapeDuration, health, scrapeInterval, scrapeTimeout]
            properties:
              discoveredLabels: {$ref: "#/components/schemas/Labels"}
              labels: {$ref: "#/components/schemas/Labels"}
              scrapePool: {type: string}
              scrapeUrl: {type: string}
              globalUrl: {type: string}
              lastError: {type: string}
              lastScrape: {type: string, format: date-time}
              lastScrapeDuration: {type: number}
              health: {enum: [unknown, up, down]}
              scrapeInterval: {type: string}
              scrapeTimeout: {type: string}
        droppedTargets: {type: array, items: {type: object}}
        droppedTargetCounts: {type: object, additionalProperties: {type: integer}}
    TargetMetadata:
      type: array
      items:
        type: object
        required: [target, metric, type, help, unit]
        properties:
          target: {$ref: "#/components/schemas/Labels"}
          metric: {type: string}
          type: {type: string}
          help: {type: string}
          unit: {type: string}
    RelabelSteps:
      type: object
      required: [steps]
      properties: {steps: {type: array, items: {type: object}}}
    ScrapePools:
      type: object
      required: [scrapePools]
      properties: {scrapePools: {$ref: "#/components/schemas/Texts"}}
    Yaml:
      type: object
      required: [yaml]
      properties: {yaml: {type: string}}
    Rules:
      type: object
      required: [groups]
      properties: {groups: {type: array, items: {type: object}}}
    Alerts:
      type: object
      required: [alerts]
      properties: {alerts: {type: array, items: {type: object}}}
    Alertmanagers:
      type: object
      required: [activeAlertmanagers, droppedAlertmanagers]
      properties:
        activeAlertmanagers: {type: array, items: {type: object}}
        droppedAlertmanagers: {type: array, items: {type: object}}
    Notifications: {type: array, items: {type: object}}

    Flags: {type: object, additionalProperties: {type: string}}
    RuntimeInfo:
      type: object
      required: [startTime, CWD, hostname, serverTime, reloadConfigSuccess, lastConfigTime, corruptionCount, goroutineCount, GOMAXPROCS, GOMEMLIMIT, GOGC, GODEBUG, storageRetention]
      properties:
        startTime: {type: string, format: date-time}
        CWD: {type: string}
        hostname: {type: string}
        serverTime: {type: string, format: date-time}
        reloadConfigSuccess: {type: boolean}
        lastConfigTime: {type: string, format: date-time}
        corruptionCount: {type: integer}
        goroutineCount: {type: integer}
        GOMAXPROCS: {type: integer}
        GOMEMLIMIT: {type: integer}
        GOGC: {type: string}
        GODEBUG: {type: string}
        storageRetention: {type: string}
    BuildInfo:
      type: object
      required: [version, revision, branch, buildUser, buildDate, goVersion]
      additionalProperties: {type: string}
    Counts:
      type: array
      items:
        type: object
        required: [name, value]
        properties:
          name: {type: string}
          value: {type: integer}
    TsdbStatus:
      type: object
      required: [headStats, seriesCountByMetricName, labelValueCountByLabelName, memoryInBytesByLabelName, seriesCountByLabelValuePair]
      properties:
        headStats:
          type: object
          required: [numSeries, numLabelPairs, chunkCount, minTime, maxTime]
          additionalProperties: {type: integer}
        totalSeries: {type: integer}
        blocks: {type: integer}
        seriesCountByMetricName: {$ref: "#/components/schemas/Counts"}
        labelValueCountByLabelName: {$ref: "#/components/schemas/Counts"}
        memoryInBytesByLabelName: {$ref: "#/components/schemas/Counts"}
        seriesCountByLabelValuePair: {$ref: "#/components/schemas/Counts"}
    TsdbBlocks:
      type: object
      required: [blocks]
      properties:
        blocks:
          type: array
          items:
            type: object
            required: [ulid, minTime, maxTime, stats, compaction]
            properties:
              ulid: {type: string}
              minTime: {type: integer}
              maxTime: {type: integer}
              stats: {type: object, additionalProperties: {type: integer}}
              compaction: {type: object, properties: {level: {type: integer}}}
    WalReplay:
      type: object
      required: [min, max, current]
      additionalProperties: {type: integer}
    MetricFamilies:
      description: Protobuf's metric families as JSON
      type: array
      items:
        type: object
        required: [name, help, type, metric]
        properties:
          name: {type: string}
          help: {type: string}
          type: {type: string}
          metric: {type: array, items: {type: object}}
    Features:
      description: By category
      type: object
      additionalProperties: {type: object, additionalProperties: {type: boolean}}
    Snapshot:
      type: object
      required: [name]
      properties: {name: {type: string}}

    TraceLogs:
      description: What is logged of a trace
      type: object
      required: [traceID, entries]
      properties:
        traceID: {type: string}
        entries:
          type: array
          items:
            type: object
            required: [timestamp, stream, metadata, line]
            properties:
              timestamp: {description: Unix nanoseconds, type: string}
              stream: {$ref: "#/components/schemas/Labels"}
              metadata: {$ref: "#/components/schemas/Labels"}
              line: {type: string}
    SpanMetrics:
      description: Metrics of a span's service around its time
      type: object
      required: [service, start, end, resultType, result]
      properties:
        service: {type: string}
        start: {$ref: "#/components/schemas/Time"}
        end: {$ref: "#/components/schemas/Time"}
        resultType: {const: matrix}
        result: {type: array, items: {$ref: "#/components/schemas/Series"}}
    TracesOfExemplars:
      type: array
      items:
        type: object
        required: [seriesLabels, exemplar, traceID, stored]
        properties:
          seriesLabels: {$ref: "#/components/schemas/Labels"}
          exemplar: {$ref: "#/components/schemas/Exemplar"}
          traceID: {type: string}
          stored: {type: boolean}
          rootServiceName: {type: string}
          rootTraceName: {type: string}
          startTimeUnixNano: {type: string}
          durationNanos: {type: string}
          spanCount: {type: integer}

    SearchLine:
      description: A line of the answer. The last one says how it ended.
      type: object
      properties:
        results:
          type: array
          items:
            type: object
            required: [name]
            properties:
              name: {type: string}
              cardinality: {type: integer}
              frequency: {type: integer}
              type: {type: string}
              help: {type: string}
              unit: {type: string}
        status: {enum: [success, error]}
        has_more: {type: boolean}
)yaml";

}  // namespace

std::string_view OpenApiComponents() { return kComponents; }

}  // namespace varve::api
