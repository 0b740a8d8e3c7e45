// TraceQL as of Tempo 3.x. Precedence and the traps are explained in README.md. Spansets, scalars
// and metrics share one expression rule: which of them an operand is, and whether the operator
// takes it, is checked on the tree.
parser grammar TraceQL;

options { tokenVocab = TraceQLLexer; }

query     : expr hints? EOF ;
fieldOnly : field EOF ;

hints : WITH LEFT_PAREN (hint (COMMA hint)*)? RIGHT_PAREN ;
hint  : WORD EQ (ADD | SUB)? value = (WORD | NUMBER | DURATION | STRING) ;

// Alternatives stand from the tightest to the loosest. `&&` and `||` have one level, as in Tempo.
expr
  : <assoc = right> expr op = POW expr
  | expr op = (MUL | DIV | MOD) expr
  | prefix = SUB expr
  | expr op = (ADD | SUB) expr
  | expr op = (EQ | NEQ | LT | LTE | GT | GTE | RE | NRE | DESC | ANCE | TILDE | NOT_CHILD
              | NOT_PARENT | NOT_DESC | NOT_ANCE | UNION_CHILD | UNION_PARENT | UNION_DESC
              | UNION_ANCE | UNION_SIBL) expr
  | expr op = (AND | OR) expr
  | expr op = PIPE expr
  | primary
  ;
primary
  : LEFT_PAREN expr RIGHT_PAREN
  | filter
  | group
  | call
  | number
  ;
filter : LEFT_BRACE field? RIGHT_BRACE ;
group  : BY LEFT_PAREN field RIGHT_PAREN ;
call
  : name = WORD LEFT_PAREN (argument (COMMA argument)*)? RIGHT_PAREN
    (BY LEFT_PAREN field (COMMA field)* RIGHT_PAREN)?
  ;
argument : filter | field ;
number   : NUMBER | DURATION ;

field
  : <assoc = right> field op = POW field
  | field op = (MUL | DIV | MOD) field
  | prefix = NOT field
  | prefix = SUB field
  | field op = (ADD | SUB) field
  | field op = (EQ | NEQ | LT | LTE | GT | GTE | RE | NRE) field
  | field op = (AND | OR) field
  | atom
  ;
atom
  : LEFT_PAREN field RIGHT_PAREN
  | number
  | STRING
  | ATTRIBUTE
  | WORD
  | array
  ;
array   : LEFT_BRACKET (element (COMMA element)*)? RIGHT_BRACKET ;
element : SUB? number | STRING | WORD ;
