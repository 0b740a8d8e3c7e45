# Completion of varve for bash. The options come from the program itself.
_varve() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local commands="serve shell query tail trace import compact inspect verify backup bench promqltest version"
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands --help" -- "$word")
    return
  fi
  case $previous in
    --data) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
    --durability) mapfile -t COMPREPLY < <(compgen -W "durable process-crash" -- "$word"); return ;;
    --output) mapfile -t COMPREPLY < <(compgen -W "table raw jsonl csv json" -- "$word"); return ;;
    --lang) mapfile -t COMPREPLY < <(compgen -W "promql logql traceql" -- "$word"); return ;;
  esac
  local sub=${COMP_WORDS[1]}
  if [ "$sub" = import ] && [ "$COMP_CWORD" -eq 2 ]; then
    mapfile -t COMPREPLY < <(compgen -W "series prometheus logs traces" -- "$word")
    return
  fi
  if [[ $word == -* ]]; then
    local options
    options=$("${COMP_WORDS[0]}" "$sub" $([ "$sub" = import ] && echo "${COMP_WORDS[2]}") --help 2>/dev/null |
      grep -oE '(^|[ ,])--?[a-z][a-z.-]*' | tr -d ' ,' | sort -u)
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
    return
  fi
  mapfile -t COMPREPLY < <(compgen -f -- "$word")
}
complete -o filenames -F _varve varve
