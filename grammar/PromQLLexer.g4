// Tokens of PromQL (Prometheus 3.x). The input is bytes, not code points: bytes above 0x7f may
// stand in strings and comments only. No rule fails: what is wrong becomes a BAD_ or UNEXPECTED
// token, so that one place (the parser's error report) names the fault.
lexer grammar PromQLLexer;

// --- Punctuation and operators ---
LEFT_PAREN    : '(' ;
RIGHT_PAREN   : ')' ;
LEFT_BRACE    : '{' -> pushMode(BRACES) ;
RIGHT_BRACE   : '}' ;
LEFT_BRACKET  : '[' -> pushMode(BRACKETS) ;
RIGHT_BRACKET : ']' ;
COMMA         : ',' ;
COLON         : ':' ;
AT            : '@' ;
ADD           : '+' ;
SUB           : '-' ;
MUL           : '*' ;
DIV           : '/' ;
MOD           : '%' ;
POW           : '^' ;
EQLC          : '==' ;
NEQ           : '!=' ;
LTE           : '<=' ;
GTE           : '>=' ;
LSS           : '<' ;
GTR           : '>' ;
TRIM_UPPER    : '</' ;
TRIM_LOWER    : '>/' ;
EQL           : '=' ;
EQL_REGEX     : '=~' ;
NEQ_REGEX     : '!~' ;

// --- Keywords: any case; most may also name a metric or a label (see the parser) ---
LAND    : A N D ;
LOR     : O R ;
LUNLESS : U N L E S S ;
ATAN2   : A T A N '2' ;

SUM          : S U M ;
AVG          : A V G ;
COUNT        : C O U N T ;
MIN          : M I N ;
MAX          : M A X ;
GROUP        : G R O U P ;
STDDEV       : S T D D E V ;
STDVAR       : S T D V A R ;
TOPK         : T O P K ;
BOTTOMK      : B O T T O M K ;
COUNT_VALUES : C O U N T '_' V A L U E S ;
QUANTILE     : Q U A N T I L E ;
LIMITK       : L I M I T K ;
LIMIT_RATIO  : L I M I T '_' R A T I O ;

BY          : B Y ;
WITHOUT     : W I T H O U T ;
ON          : O N ;
IGNORING    : I G N O R I N G ;
GROUP_LEFT  : G R O U P '_' L E F T ;
GROUP_RIGHT : G R O U P '_' R I G H T ;
BOOL        : B O O L ;
FILL        : F I L L ;
FILL_LEFT   : F I L L '_' L E F T ;
FILL_RIGHT  : F I L L '_' R I G H T ;
OFFSET      : O F F S E T ;
ANCHORED    : A N C H O R E D ;
SMOOTHED    : S M O O T H E D ;
START       : S T A R T ;
END         : E N D ;
STEP        : S T E P ;
RANGE       : R A N G E ;
MIN_OF      : M I N '_' O F ;
MAX_OF      : M A X '_' O F ;

// --- Literals ---
// Durations are not checked for order here; a unit that is wrong in any order is a BAD_NUMBER.
DURATION   : (DIGIT+ UNIT)+ ;
NUMBER     : '0' [xX] '_'? HEX ('_'? HEX)*
           | (DIGITS ('.' DIGITS?)? | '.' DIGITS) ([eE] [+-]? DIGITS)?
           | I N F
           | N A N ;
BAD_NUMBER : (DIGIT | '.' DIGIT) [0-9a-zA-Z_.]* ;

IDENTIFIER        : [a-zA-Z_] [a-zA-Z0-9_]* ;
METRIC_IDENTIFIER : [a-zA-Z_:] [a-zA-Z0-9_:]* ;

STRING     : '"' (~["\\\n] | '\\' ~[\n])* '"'
           | '\'' (~['\\\n] | '\\' ~[\n])* '\''
           | '`' ~[`]* '`' ;
BAD_STRING : '"' (~["\\\n] | '\\' ~[\n])* '\\'?
           | '\'' (~['\\\n] | '\\' ~[\n])* '\\'?
           | '`' ~[`]* ;

SPACE      : [ \t\r\n]+ -> skip ;
COMMENT    : '#' ~[\n]* -> skip ;
UNEXPECTED : . ;

// --- Inside {...}: every word is a name, whatever it means outside ---
mode BRACES;
B_RIGHT      : '}' -> type(RIGHT_BRACE), popMode ;
B_COMMA      : ',' -> type(COMMA) ;
B_EQL        : '=' -> type(EQL) ;
B_NEQ        : '!=' -> type(NEQ) ;
B_EQL_REGEX  : '=~' -> type(EQL_REGEX) ;
B_NEQ_REGEX  : '!~' -> type(NEQ_REGEX) ;
B_IDENTIFIER : [a-zA-Z_] [a-zA-Z0-9_]* -> type(IDENTIFIER) ;
B_STRING     : ('"' (~["\\\n] | '\\' ~[\n])* '"'
             | '\'' (~['\\\n] | '\\' ~[\n])* '\''
             | '`' ~[`]* '`') -> type(STRING) ;
B_BAD_STRING : ('"' (~["\\\n] | '\\' ~[\n])* '\\'?
             | '\'' (~['\\\n] | '\\' ~[\n])* '\\'?
             | '`' ~[`]*) -> type(BAD_STRING) ;
B_SPACE      : [ \t\r\n]+ -> skip ;
B_COMMENT    : '#' ~[\n]* -> skip ;
B_UNEXPECTED : . -> type(UNEXPECTED) ;

// --- Inside [...]: a colon separates, it is never part of a name ---
mode BRACKETS;
R_RIGHT       : ']' -> type(RIGHT_BRACKET), popMode ;
R_LEFT_PAREN  : '(' -> type(LEFT_PAREN) ;
R_RIGHT_PAREN : ')' -> type(RIGHT_PAREN) ;
R_COLON       : ':' -> type(COLON) ;
R_COMMA       : ',' -> type(COMMA) ;
R_ADD         : '+' -> type(ADD) ;
R_SUB         : '-' -> type(SUB) ;
R_MUL         : '*' -> type(MUL) ;
R_DIV         : '/' -> type(DIV) ;
R_MOD         : '%' -> type(MOD) ;
R_POW         : '^' -> type(POW) ;
R_STEP        : S T E P -> type(STEP) ;
R_RANGE       : R A N G E -> type(RANGE) ;
R_MIN_OF      : M I N '_' O F -> type(MIN_OF) ;
R_MAX_OF      : M A X '_' O F -> type(MAX_OF) ;
R_DURATION    : (DIGIT+ UNIT)+ -> type(DURATION) ;
R_NUMBER      : ('0' [xX] '_'? HEX ('_'? HEX)*
              | (DIGITS ('.' DIGITS?)? | '.' DIGITS) ([eE] [+-]? DIGITS)?
              | I N F
              | N A N) -> type(NUMBER) ;
R_BAD_NUMBER  : (DIGIT | '.' DIGIT) [0-9a-zA-Z_.]* -> type(BAD_NUMBER) ;
R_IDENTIFIER  : [a-zA-Z_] [a-zA-Z0-9_]* -> type(IDENTIFIER) ;
R_SPACE       : [ \t\r\n]+ -> skip ;
R_COMMENT     : '#' ~[\n]* -> skip ;
R_UNEXPECTED  : . -> type(UNEXPECTED) ;

fragment DIGIT  : [0-9] ;
fragment DIGITS : [0-9] ('_'? [0-9])* ;
fragment HEX    : [0-9a-fA-F] ;
fragment UNIT   : 'ms' | [smhdwy] ;

fragment A : [aA] ; fragment B : [bB] ; fragment C : [cC] ; fragment D : [dD] ; fragment E : [eE] ;
fragment F : [fF] ; fragment G : [gG] ; fragment H : [hH] ; fragment I : [iI] ; fragment K : [kK] ;
fragment L : [lL] ; fragment M : [mM] ; fragment N : [nN] ; fragment O : [oO] ; fragment P : [pP] ;
fragment Q : [qQ] ; fragment R : [rR] ; fragment S : [sS] ; fragment T : [tT] ; fragment U : [uU] ;
fragment V : [vV] ; fragment W : [wW] ; fragment X : [xX] ; fragment Y : [yY] ;
