// LogQL as of Loki 3.x. Precedence and the traps are explained in README.md. What needs types (is
// this a log query, may a stage follow here, which aggregation takes a parameter) is checked on the
// tree, not here; so a stage, a range and an offset may follow any operand.
parser grammar LogQL;

options { tokenVocab = LogQLLexer; }

query    : expr EOF ;
matchers : selector EOF ;

// Alternatives stand from the tightest to the loosest.
expr
  : <assoc = right> expr op = POW modifiers expr
  | expr op = (MUL | DIV | MOD) modifiers expr
  | expr op = (ADD | SUB) modifiers expr
  | expr op = (EQLC | NEQ | LTE | LSS | GTE | GTR) modifiers expr
  | expr op = (LAND | LUNLESS) modifiers expr
  | expr op = LOR modifiers expr
  | operand
  ;

// A "(" after group_left always opens labels, even where only an expression would make sense.
modifiers
  : BOOL?
    ((ON | IGNORING) match = labels
      (group = (GROUP_LEFT | GROUP_RIGHT)
        (include = labels | {_input->LA(1) != LEFT_PAREN}?))?)?
  ;
labels : LEFT_PAREN (name (COMMA name)*)? RIGHT_PAREN ;

operand : primary suffix* ;
suffix
  : RANGE
  | OFFSET SUB? DURATION
  | AT SUB? NUMBER
  | stage
  ;
primary
  : number
  | LEFT_PAREN expr RIGHT_PAREN
  | rangeAggregation
  | vectorAggregation
  | LABEL_REPLACE LEFT_PAREN expr COMMA STRING COMMA STRING COMMA STRING COMMA STRING RIGHT_PAREN
  | VECTOR LEFT_PAREN number RIGHT_PAREN
  | selector
  ;
number : (ADD | SUB)? NUMBER ;

rangeAggregation : rangeOp LEFT_PAREN (NUMBER COMMA)? expr RIGHT_PAREN grouping? ;
rangeOp
  : COUNT_OVER_TIME | RATE | RATE_COUNTER | BYTES_OVER_TIME | BYTES_RATE | AVG_OVER_TIME
  | SUM_OVER_TIME | MIN_OVER_TIME | MAX_OVER_TIME | STDDEV_OVER_TIME | STDVAR_OVER_TIME
  | QUANTILE_OVER_TIME | FIRST_OVER_TIME | LAST_OVER_TIME | ABSENT_OVER_TIME
  ;
vectorAggregation
  : vectorOp (grouping arguments | arguments grouping?)
  ;
arguments : LEFT_PAREN ((NUMBER | STRING) COMMA)? expr RIGHT_PAREN ;
vectorOp
  : SUM | AVG | MAX | MIN | COUNT | STDDEV | STDVAR | TOPK | BOTTOMK | APPROX_TOPK | SORT | SORT_DESC
  | GROUP | QUANTILE | COUNT_VALUES
  ;
grouping : (BY | WITHOUT) labels ;

selector : LEFT_BRACE (matcher (COMMA matcher)*)? RIGHT_BRACE ;
matcher  : name op = (EQL | NEQ | EQL_REGEX | NEQ_REGEX) STRING ;

stage
  : op = (PIPE_EXACT | NEQ | PIPE_MATCH | NEQ_REGEX | PIPE_PATTERN | NOT_PATTERN)
    lineText (LOR lineText)*                                       # lineFilter
  | PIPE JSON (extraction (COMMA extraction)*)?                    # json
  | PIPE LOGFMT FLAG* (extraction (COMMA extraction)*)?            # logfmt
  | PIPE which = (REGEXP | PATTERN) STRING                        # textParser
  | PIPE UNPACK                                                    # unpack
  | PIPE LINE_FORMAT STRING                                        # lineFormat
  | PIPE LABEL_FORMAT labelFormat (COMMA labelFormat)*             # labelFormats
  | PIPE DECOLORIZE                                                # decolorize
  | PIPE keep = (DROP | KEEP) labelChoice (COMMA labelChoice)*     # dropKeep
  | PIPE UNWRAP name                                               # unwrap
  | PIPE UNWRAP conversion = (BYTES_CONVERSION | DURATION_CONV | SECONDS_CONV)
    LEFT_PAREN name RIGHT_PAREN                                    # unwrapConverted
  | PIPE labelFilter                                               # labelFilterStage
  ;
lineText    : STRING | IP LEFT_PAREN STRING RIGHT_PAREN ;
extraction  : name (EQL STRING)? ;
labelFormat : name EQL (name | STRING) ;
labelChoice : name | matcher ;

// A flat list: the odd precedence of Loki is made in build.cc.
labelFilter : labelTest (connective = (LAND | LOR | COMMA)? labelTest)* ;
labelTest
  : matcher
  | name op = (EQL | NEQ) IP LEFT_PAREN STRING RIGHT_PAREN
  | name op = (EQL | EQLC | NEQ | GTR | GTE | LSS | LTE) (number | SUB? DURATION | BYTES)
  | LEFT_PAREN labelFilter RIGHT_PAREN
  ;

name
  : IDENTIFIER
  | COUNT_OVER_TIME | RATE | RATE_COUNTER | BYTES_OVER_TIME | BYTES_RATE | AVG_OVER_TIME
  | SUM_OVER_TIME | MIN_OVER_TIME | MAX_OVER_TIME | STDDEV_OVER_TIME | STDVAR_OVER_TIME
  | QUANTILE_OVER_TIME | FIRST_OVER_TIME | LAST_OVER_TIME | ABSENT_OVER_TIME
  | SUM | AVG | MAX | MIN | COUNT | STDDEV | STDVAR | TOPK | BOTTOMK | APPROX_TOPK | SORT | SORT_DESC
  | GROUP | QUANTILE | COUNT_VALUES | LABEL_REPLACE | VECTOR
  | BYTES_CONVERSION | DURATION_CONV | SECONDS_CONV | IP
  ;
