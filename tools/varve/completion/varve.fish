# Completion of varve for fish. The options come from the program itself.
function __varve_commands
    printf '%s\t%s\n' \
        serve 'serve a store over HTTP' shell 'ask interactively' query 'evaluate one expression' \
        tail 'show log entries as they come' trace 'draw one trace' \
        import 'load data into a store' compact 'merge blocks' inspect 'show bytes by section and codec' \
        verify 'check every byte' backup 'write a consistent copy' bench 'measure this machine' \
        promqltest 'run test scripts' version 'print the version'
end

# Prints the long options that the help of the command at hand names.
function __varve_options
    set -l words (commandline -opc)
    set -l sub $words[2]
    test "$sub" = import; and set sub $words[2..3]
    $words[1] $sub --help 2>/dev/null | string match -ar -- '--[a-z][a-z.-]*' | sort -u
end

complete -c varve -n __fish_use_subcommand -f -a '(__varve_commands)'
complete -c varve -n '__fish_seen_subcommand_from import; and test (count (commandline -opc)) -eq 2' -f \
    -a 'series prometheus logs traces'
complete -c varve -n 'string match -q -- "-*" (commandline -ct)' -f -a '(__varve_options)'
complete -c varve -l data -x -a '(__fish_complete_directories)'
complete -c varve -l durability -x -a 'durable process-crash'
complete -c varve -l output -x -a 'table raw jsonl csv json'
complete -c varve -l lang -x -a 'promql logql traceql'
