# Shortcuts; `just` lists them.

default:
    @just --list

# Everything that CI runs
test:
    ./scripts/test

# Format and lint
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# Faults survived, as a table; arguments pick scenarios
chaos *arguments:
    cargo test -p lemonade-load-balancer --test chaos -- {{arguments}}

# Five workers and a balancer
demo *arguments:
    cargo run --release -- demo {{arguments}}

# Picks, header rewriting, a request over loopback
bench:
    cargo bench -p lemonade-load-balancer --features internals

# Against HAProxy and nginx
bench-peers *arguments:
    scripts/bench-peers {{arguments}}

# What the access log, traces, metrics and the page cost a request
bench-observed *arguments:
    scripts/bench-observed {{arguments}}

# An hour of load, reloads and dying workers against a release build
soak *arguments:
    scripts/soak {{arguments}}

# The documentation of the code
doc:
    cargo doc --workspace --no-deps --open

# Fuzz one target: request_head, response_head, chunked, config, load_balancer, proxy_request, proxy_response, rule or traceparent
fuzz target seconds="60":
    cd fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run {{target}} -- -max_total_time={{seconds}}
