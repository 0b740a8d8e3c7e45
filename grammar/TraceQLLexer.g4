// Tokens of TraceQL (Tempo 3.x). The input is bytes, not code points; bytes above 0x7f may stand in
// strings, comments and attribute names. No rule fails: what is wrong becomes a BAD_ or UNEXPECTED token.
lexer grammar TraceQLLexer;

// --- Punctuation and operators ---
LEFT_BRACE    : '{' ;
RIGHT_BRACE   : '}' ;
LEFT_PAREN    : '(' ;
RIGHT_PAREN   : ')' ;
LEFT_BRACKET  : '[' ;
RIGHT_BRACKET : ']' ;
COMMA         : ',' ;
PIPE          : '|' ;
AND           : '&&' ;
OR            : '||' ;
EQ            : '=' ;
NEQ           : '!=' ;
LT            : '<' ;
LTE           : '<=' ;
GT            : '>' ;
GTE           : '>=' ;
RE            : '=~' ;
NRE           : '!~' ;   // between spansets: not a sibling
ADD           : '+' ;
SUB           : '-' ;
MUL           : '*' ;
DIV           : '/' ;
MOD           : '%' ;
POW           : '^' ;
NOT           : '!' ;
DESC          : '>>' ;
ANCE          : '<<' ;
TILDE         : '~' ;
NOT_CHILD     : '!>' ;
NOT_PARENT    : '!<' ;
NOT_DESC      : '!>>' ;
NOT_ANCE      : '!<<' ;
UNION_CHILD   : '&>' ;
UNION_PARENT  : '&<' ;
UNION_DESC    : '&>>' ;
UNION_ANCE    : '&<<' ;
UNION_SIBL    : '&~' ;

BY   : 'by' ;
WITH : 'with' ;

// --- Literals ---
DURATION : (NUM UNIT)+ ;
NUMBER   : NUM ([eE] [+-]? [0-9]+)? ;

// An attribute runs to the next blank or operator that cannot be part of a name; "-", "+", "*", "/"
// and "%" can, so arithmetic on attributes needs blanks. Quoted parts may hold anything.
ATTRIBUTE     : PREFIX? '.' (NAME_BYTE | QUOTED)+ ;
BAD_ATTRIBUTE : PREFIX? '.' (NAME_BYTE | QUOTED)* ('"' (~["\\] | '\\' .)* '\\'?)? ;

// Names of functions, intrinsics and literals.
WORD : [a-zA-Z_] [a-zA-Z0-9_]* (':' [a-zA-Z]+)? ;

STRING     : '"' (~["\\\n] | '\\' ~[\n])* '"'
           | '`' ~[`]* '`' ;
BAD_STRING : '"' (~["\\\n] | '\\' ~[\n])* '\\'?
           | '`' ~[`]* ;
BAD_NUMBER : [0-9] [0-9a-zA-Z_.]* ;

SPACE         : [ \t\r\n]+ -> skip ;
COMMENT       : '//' ~[\n]* -> skip ;
BLOCK_COMMENT : '/*' .*? '*/' -> skip ;
UNEXPECTED    : . ;

fragment NUM       : [0-9]+ ('.' [0-9]*)? | '.' [0-9]+ ;
fragment UNIT      : 'ns' | 'us' | '\u00C2\u00B5s' | '\u00CE\u00BCs' | 'ms' | [smhdw] ;
fragment PREFIX    : ('parent' '.')? SCOPE | 'parent' ;
fragment SCOPE     : 'span' | 'resource' | 'event' | 'link' | 'instrumentation' ;
fragment NAME_BYTE : ~[ \t\r\n\u000B\u000C{}()=~!<>&|^,"\u0060] ;
fragment QUOTED    : '"' (~["\\] | '\\' .)* '"' ;
