// PromQL as of Prometheus 3.x. Precedence and the traps are explained in README.md. What needs
// types or names (is it a function, may this be offset) is checked on the tree, not here.
parser grammar PromQL;

options { tokenVocab = PromQLLexer; }

query    : expr EOF ;
selector : vectorSelector EOF ;

// Alternatives stand from the tightest to the loosest.
expr
  : <assoc = right> expr op = POW modifiers expr
  | op = (ADD | SUB) expr
  | expr op = (MUL | DIV | MOD | ATAN2) modifiers expr
  | expr op = (ADD | SUB) modifiers expr
  | expr op = (EQLC | NEQ | LTE | LSS | GTE | GTR | TRIM_UPPER | TRIM_LOWER) modifiers expr
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
    fill*
  ;
fill : side = (FILL | FILL_LEFT | FILL_RIGHT) LEFT_PAREN (ADD | SUB)? number RIGHT_PAREN ;

// Suffixes bind tighter than any operator and follow any operand; which operands may carry which
// is checked afterwards.
operand : primary suffix* ;
suffix
  : LEFT_BRACKET range = duration (COLON step = duration?)? RIGHT_BRACKET
  | OFFSET offsetDuration
  | AT (ADD | SUB)? number
  | AT edge = (START | END) LEFT_PAREN RIGHT_PAREN
  | ANCHORED
  | SMOOTHED
  ;

primary
  : number
  | STRING
  | LEFT_PAREN expr RIGHT_PAREN
  | aggregation
  | call
  | vectorSelector
  ;

number : NUMBER | DURATION ;

aggregation
  : aggregateOp (grouping arguments | arguments grouping?)
  ;
grouping  : (BY | WITHOUT) labels ;
arguments : LEFT_PAREN (expr (COMMA expr)*)? RIGHT_PAREN ;
call      : functionName arguments ;

vectorSelector : metricName matchers? | matchers ;
matchers       : LEFT_BRACE (matcher (COMMA matcher)* COMMA?)? RIGHT_BRACE ;
matcher        : name = (IDENTIFIER | STRING) op = (EQL | NEQ | EQL_REGEX | NEQ_REGEX) value = STRING
               | name = STRING
               ;

labels : LEFT_PAREN (label (COMMA label)* COMMA?)? RIGHT_PAREN ;

duration
  : <assoc = right> duration op = POW duration
  | op = (ADD | SUB) duration
  | duration op = (MUL | DIV | MOD) duration
  | duration op = (ADD | SUB) duration
  | durationAtom
  ;
durationAtom
  : number
  | (STEP | RANGE) LEFT_PAREN RIGHT_PAREN
  | (MIN_OF | MAX_OF) LEFT_PAREN duration COMMA duration RIGHT_PAREN
  | LEFT_PAREN duration RIGHT_PAREN
  ;
// `offset 1m + 2` is a sum of a vector and 2: arithmetic in an offset needs parentheses.
offsetDuration : (ADD | SUB)* durationAtom ;

aggregateOp
  : SUM | AVG | COUNT | MIN | MAX | GROUP | STDDEV | STDVAR | TOPK | BOTTOMK | COUNT_VALUES
  | QUANTILE | LIMITK | LIMIT_RATIO
  ;
functionName : IDENTIFIER | START | END | STEP | RANGE | MIN_OF | MAX_OF ;

// Every keyword except bool, on, ignoring, group_left, group_right and atan2.
metricName
  : IDENTIFIER | METRIC_IDENTIFIER | aggregateOp | LAND | LOR | LUNLESS | BY | WITHOUT | OFFSET
  | FILL | FILL_LEFT | FILL_RIGHT | ANCHORED | SMOOTHED | START | END | STEP | RANGE | MIN_OF | MAX_OF
  ;
// Every keyword.
label
  : metricName | BOOL | ON | IGNORING | GROUP_LEFT | GROUP_RIGHT | ATAN2 | STRING
  ;
