// Tokens of LogQL (Loki 3.x). The input is bytes, not code points: bytes above 0x7f may stand in
// strings and comments, and in the micro sign of durations. No rule fails: what is wrong becomes a
// BAD_ or UNEXPECTED token, so that one place (the parser's error report) names the fault.
lexer grammar LogQLLexer;

// --- Punctuation and operators ---
LEFT_PAREN      : '(' ;
RIGHT_PAREN     : ')' ;
LEFT_BRACE      : '{' ;
RIGHT_BRACE     : '}' ;
COMMA           : ',' ;
PIPE            : '|' ;
PIPE_EXACT      : '|=' ;
PIPE_MATCH      : '|~' ;
PIPE_PATTERN    : '|>' ;
NOT_PATTERN     : '!>' ;
NEQ             : '!=' ;
NEQ_REGEX       : '!~' ;
EQL             : '=' ;
EQL_REGEX       : '=~' ;
EQLC            : '==' ;
LTE             : '<=' ;
GTE             : '>=' ;
LSS             : '<' ;
GTR             : '>' ;
ADD             : '+' ;
SUB             : '-' ;
MUL             : '*' ;
DIV             : '/' ;
MOD             : '%' ;
POW             : '^' ;
AT              : '@' ;
FLAG            : '--' [a-zA-Z] [a-zA-Z0-9\-]* ;

// --- Words that are never names; any case ---
BY           : B Y ;
WITHOUT      : W I T H O U T ;
BOOL         : B O O L ;
ON           : O N ;
IGNORING     : I G N O R I N G ;
GROUP_LEFT   : G R O U P '_' L E F T ;
GROUP_RIGHT  : G R O U P '_' R I G H T ;
OFFSET       : O F F S E T ;
LAND         : A N D ;
LOR          : O R ;
LUNLESS      : U N L E S S ;
JSON         : J S O N ;
LOGFMT       : L O G F M T ;
REGEXP       : R E G E X P ;
PATTERN      : P A T T E R N ;
UNPACK       : U N P A C K ;
UNWRAP       : U N W R A P ;
LINE_FORMAT  : L I N E '_' F O R M A T ;
LABEL_FORMAT : L A B E L '_' F O R M A T ;
DECOLORIZE   : D E C O L O R I Z E ;
DROP         : D R O P ;
KEEP         : K E E P ;

// --- Words that are names unless a parenthesis or a grouping follows (see the parser) ---
COUNT_OVER_TIME    : C O U N T '_' O V E R '_' T I M E ;
RATE               : R A T E ;
RATE_COUNTER       : R A T E '_' C O U N T E R ;
BYTES_OVER_TIME    : B Y T E S '_' O V E R '_' T I M E ;
BYTES_RATE         : B Y T E S '_' R A T E ;
AVG_OVER_TIME      : A V G '_' O V E R '_' T I M E ;
SUM_OVER_TIME      : S U M '_' O V E R '_' T I M E ;
MIN_OVER_TIME      : M I N '_' O V E R '_' T I M E ;
MAX_OVER_TIME      : M A X '_' O V E R '_' T I M E ;
STDDEV_OVER_TIME   : S T D D E V '_' O V E R '_' T I M E ;
STDVAR_OVER_TIME   : S T D V A R '_' O V E R '_' T I M E ;
QUANTILE_OVER_TIME : Q U A N T I L E '_' O V E R '_' T I M E ;
FIRST_OVER_TIME    : F I R S T '_' O V E R '_' T I M E ;
LAST_OVER_TIME     : L A S T '_' O V E R '_' T I M E ;
ABSENT_OVER_TIME   : A B S E N T '_' O V E R '_' T I M E ;
SUM                : S U M ;
AVG                : A V G ;
MAX                : M A X ;
MIN                : M I N ;
COUNT              : C O U N T ;
STDDEV             : S T D D E V ;
STDVAR             : S T D V A R ;
TOPK               : T O P K ;
BOTTOMK            : B O T T O M K ;
APPROX_TOPK        : A P P R O X '_' T O P K ;
SORT               : S O R T ;
SORT_DESC          : S O R T '_' D E S C ;
GROUP              : G R O U P ;
QUANTILE           : Q U A N T I L E ;
COUNT_VALUES       : C O U N T '_' V A L U E S ;
LABEL_REPLACE      : L A B E L '_' R E P L A C E ;
VECTOR             : V E C T O R ;
BYTES_CONVERSION   : B Y T E S ;
DURATION_CONV      : D U R A T I O N ;
SECONDS_CONV       : D U R A T I O N '_' S E C O N D S ;
IP                 : I P ;

// --- Literals ---
// What is between brackets is read on the tree: a range, or range and step of a subquery.
RANGE      : '[' ~[\]]* ']' ;
BAD_RANGE  : '[' ~[\]]* ;
DURATION   : (DECIMAL UNIT)+ ;
BYTES      : DECIMAL BYTE_UNIT ;
NUMBER     : DECIMAL ([eE] [+\-]? DIGIT+)? ;
BAD_NUMBER : '0' [0-9xXbBoO] [0-9a-zA-Z_.]* ;
IDENTIFIER : [a-zA-Z_] [a-zA-Z0-9_]* ;

STRING     : '"' (~["\\\n] | '\\' ~[\n])* '"' | '`' ~[`]* '`' ;
BAD_STRING : '"' (~["\\\n] | '\\' ~[\n])* '\\'? | '`' ~[`]* ;

SPACE         : [ \t\r\n]+ -> skip ;
COMMENT       : ('#' | '//') ~[\n]* -> skip ;
BLOCK_COMMENT : '/*' .*? '*/' -> skip ;
UNEXPECTED    : . ;

fragment DIGIT     : [0-9] ;
fragment DECIMAL   : DIGIT+ ('.' DIGIT*)? | '.' DIGIT+ ;
fragment UNIT      : 'ns' | 'us' | '\u00c2\u00b5s' | '\u00ce\u00bcs' | 'ms' | [smhdwy] ;
fragment BYTE_UNIT : 'B' | [kKMGTPE] 'B' | [KMGTPE] 'iB' ;

fragment A : [aA] ; fragment B : [bB] ; fragment C : [cC] ; fragment D : [dD] ; fragment E : [eE] ;
fragment F : [fF] ; fragment G : [gG] ; fragment H : [hH] ; fragment I : [iI] ; fragment J : [jJ] ;
fragment K : [kK] ; fragment L : [lL] ; fragment M : [mM] ; fragment N : [nN] ; fragment O : [oO] ;
fragment P : [pP] ; fragment Q : [qQ] ; fragment R : [rR] ; fragment S : [sS] ; fragment T : [tT] ;
fragment U : [uU] ; fragment V : [vV] ; fragment W : [wW] ; fragment X : [xX] ; fragment Y : [yY] ;
fragment Z : [zZ] ;
