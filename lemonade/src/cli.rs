//! The command line.

use clap::{Args, Parser, Subcommand};
use lemonade_observability::logging::Format;
use std::path::PathBuf;

/// A load balancer that can explain every choice it makes, and workers to try it with.
///
/// Without a command it is the load balancer: `lemonade --config FILE`, or `lemonade` in a folder with a config.yaml,
/// config.toml or config.json.
#[derive(Debug, Parser)]
#[command(name = "lemonade", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: Log,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) load_balancer: LoadBalancer,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// How log lines are written to standard error: text or json
    #[arg(
        long = "log-format",
        global = true,
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub(crate) format: Format,
    /// Log more (repeat for more still); RUST_LOG wins over this
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Log less (repeat for less still)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    quiet: u8,
}

impl Log {
    /// Steps up (or down) from the level that a command logs at by itself.
    pub(crate) fn verbosity(&self, own: i8) -> i8 {
        let level = |count: u8| i8::try_from(count).unwrap_or(i8::MAX);
        own.saturating_add(level(self.verbose))
            .saturating_sub(level(self.quiet))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Balance HTTP requests over backends
    #[command(visible_alias = "lb")]
    LoadBalancer(LoadBalancer),
    /// Serve /health and /work on one of five frameworks, with faults on demand
    #[command(visible_alias = "w")]
    Worker(Worker),
    /// Start five workers with a load balancer before them, and say what to try
    Demo(Demo),
    /// Compare strategies over real workers and real load, with faults at their times
    Bench(Bench),
    /// Say what is wrong with a configuration, or what it would change in the running balancer
    Check(Check),
    /// Have the running balancer read its configuration again
    Reload(Reach),
    /// How the running balancer is doing
    Status(Reach),
    /// The running balancer's backends: look at them, add, remove, drain, enable, weigh
    Backends(Backends),
    /// The running balancer's strategy: look at it, switch it
    Strategy(Strategy),
    /// Compare strategies in simulated time: on scenarios, or on the requests of an access log
    Simulate(Simulate),
    /// What the running balancer's engine decided, and why
    Decisions(Decisions),
    /// The running balancer in a terminal: what is wrong, its backends, its events; keys to drain and to switch
    Top(Top),
    /// Who would get a request now, and why; the request is not sent
    Explain(Explain),
    /// Have the running balancer hand its sockets to a new process of the present program
    Upgrade(Reach),
    /// The database that backends may come from
    Db(Db),
    /// Print a script that completes commands in a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// How a running balancer is reached.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Reach {
    /// The admin API's address [default: that of --config, else 127.0.0.1:50500]
    #[arg(long, value_name = "ADDRESS", env = "LEMONADE_LB_ADMIN_ADDRESS")]
    pub(crate) admin: Option<String>,
    /// The balancer's configuration, which says where its admin API is, and its token (else LEMONADE_ADMIN_TOKEN does)
    #[arg(short, long, value_name = "FILE", env = "LEMONADE_LB_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration: YAML, TOML or JSON
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    pub(crate) file: Option<PathBuf>,
    /// Ask the running balancer what the file would change
    #[arg(long, conflicts_with = "schema")]
    pub(crate) diff: bool,
    /// Print the JSON Schema of configurations, for editors
    #[arg(long, conflicts_with_all = ["file", "json"])]
    pub(crate) schema: bool,
    /// The admin API's address, for --diff [default: LEMONADE_LB_ADMIN_ADDRESS, else the file's]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Backends {
    #[command(subcommand)]
    pub(crate) action: Option<BackendsAction>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackendsAction {
    /// Every backend with its state
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Add a backend
    Add {
        /// `host:port`
        address: String,
        /// What it is called [default: its address]
        #[arg(long)]
        name: Option<String>,
        /// Its share under the weighted strategies
        #[arg(long, default_value_t = 1)]
        weight: u32,
        #[command(flatten)]
        change: Change,
    },
    /// Remove a backend: no new request, those in flight finish
    Remove {
        /// Its name or address
        backend: String,
        #[command(flatten)]
        change: Change,
    },
    /// Send a backend no new request until it is enabled
    Drain {
        /// Its name or address
        backend: String,
        #[command(flatten)]
        change: Change,
    },
    /// Send a drained backend requests again
    Enable {
        /// Its name or address
        backend: String,
        #[command(flatten)]
        change: Change,
    },
    /// Set a backend's weight
    Weight {
        /// Its name or address
        backend: String,
        /// 1 to 65535
        weight: u32,
        #[command(flatten)]
        change: Change,
    },
}

/// What every change by hand takes.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Keep it beyond the process: in the database that the backend came from, else in a file beside the configuration
    #[arg(long)]
    pub(crate) persist: bool,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Strategy {
    #[command(subcommand)]
    pub(crate) action: Option<StrategyAction>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StrategyAction {
    /// The strategy that picks
    Get {
        #[command(flatten)]
        reach: Reach,
    },
    /// Switch it
    Set {
        /// Its name, or `auto` for what the configuration says
        name: String,
        /// For how long, such as 10m; then the configuration has its say again
        #[arg(long, value_name = "TIME", conflicts_with = "persist")]
        ttl: Option<String>,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Decisions {
    /// Go on as it decides
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The most that are shown
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Print one picture as plain text (or JSON), and end
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The request: `/path` or `http://host/path`, of which only path and query matter; before it a method other than GET
    #[arg(value_names = ["METHOD", "URL"], num_args = 1..=2, required_unless_present = "last")]
    pub(crate) request: Vec<String>,
    /// A header field, as `Name: value`; repeat for more
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    pub(crate) headers: Vec<String>,
    /// The client's address [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) client: Option<String>,
    /// Show the last of the real picks that were sampled instead, so many of them
    #[arg(
        long,
        value_name = "COUNT",
        num_args = 0..=1,
        default_missing_value = "10",
        conflicts_with_all = ["request", "headers", "client"]
    )]
    pub(crate) last: Option<u32>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct Db {
    #[command(subcommand)]
    pub(crate) action: DbAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DbAction {
    /// Create the table of workers, or bring an older one up to date; rows stay
    Migrate {
        /// `postgres://…` or `sqlite:…` [default: DATABASE_URL, also from .env]
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
}

#[derive(Debug, Default, Args, PartialEq)]
pub(crate) struct LoadBalancer {
    /// The configuration: YAML, TOML or JSON; changes are applied while running
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where clients connect
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Which backend gets the next request
    #[arg(long, value_name = "NAME")]
    pub(crate) strategy: Option<String>,
    /// A backend; repeat for more
    #[arg(long = "backend", value_name = "ADDRESS")]
    pub(crate) backends: Vec<String>,
    /// Where the admin API and /metrics listen, or `off`
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<String>,
    /// Stop when standard input ends: for a parent that may die without saying so
    #[arg(long, hide = true)]
    pub(crate) until_stdin_ends: bool,
}

/// Every flag is also a variable (`LEMONADE_WORKER_DELAY`) and a key of the file; the flag wins, then the variable.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Which framework serves: actix, axum, hyper, rocket or tokio
    #[arg(short, long, value_name = "NAME")]
    pub(crate) framework: Option<String>,
    /// Where to listen [default: 127.0.0.1:50510]
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) address: Option<String>,
    /// What its answers call it [default: worker-FRAMEWORK]
    #[arg(short, long)]
    pub(crate) name: Option<String>,
    /// How long /work takes: milliseconds or a duration [default: 10ms]
    #[arg(short, long, value_name = "TIME")]
    pub(crate) delay: Option<String>,
    /// How much more or less than the delay
    #[arg(long, value_name = "TIME")]
    pub(crate) jitter: Option<String>,
    /// What every delay is divided by, those that requests ask for too [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) speed: Option<String>,
    /// The share of /work that is answered with an error, such as 5%
    #[arg(long, value_name = "SHARE")]
    pub(crate) error_rate: Option<String>,
    /// How many requests are worked on at once; others queue
    #[arg(long, value_name = "COUNT")]
    pub(crate) capacity: Option<String>,
    /// How long requests in flight may take after TERM [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub(crate) drain_timeout: Option<String>,
    /// A timeline of faults
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
    /// The configuration: YAML, TOML or JSON
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Stop when standard input ends: for a parent that may die without saying so
    #[arg(long, hide = true)]
    pub(crate) until_stdin_ends: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What is played; repeat for more
    #[arg(short, long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) scenario: Vec<PathBuf>,
    /// Who is compared, in this order; `ideal` is simulated [default: all that need no key]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) strategy: Vec<String>,
    /// Simulate the all-knowing bound for the same requests as well
    #[arg(long)]
    pub(crate) ideal: bool,
    /// What the workers run on: actix, axum, hyper, rocket or tokio
    #[arg(short, long, value_name = "NAME", default_value = "tokio")]
    pub(crate) framework: String,
    /// Requests a second on average; their cost changes with it, so that the pool is as busy [default: the scenario's, at most 400 for
    /// each core]
    #[arg(long, value_name = "NUMBER", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Play all of it in so many seconds [default: the scenario's duration]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: Option<u64>,
    /// Where randomness begins [default: the scenario's]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Connections that the load opens at most
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) connections: u16,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a report with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Keep configurations, logs and access logs here [default: a temporary folder, removed at the end]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) work_dir: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text
        .parse()
        .ok()
        .filter(|rate| (1.0..=100_000.0).contains(rate));
    rate.ok_or_else(|| "expected a number from 1 to 100000".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Send requests to it as well, and show who serves them
    #[arg(long)]
    pub(crate) load: bool,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,
    /// Connections that send requests
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) connections: u16,
    /// How long the workers take
    #[arg(long, value_name = "TIME", default_value = "10ms")]
    pub(crate) delay: String,
    /// Which backend gets the next request
    #[arg(long, value_name = "NAME", default_value = "round_robin")]
    pub(crate) strategy: String,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Simulate {
    /// Scenarios: pools of backends, requests, faults (docs/simulation.md)
    #[arg(long, value_name = "FILE", num_args = 1.., group = "what")]
    pub(crate) scenario: Vec<PathBuf>,
    /// An access log in JSON lines: what if its requests had met other strategies?
    #[arg(long, value_name = "FILE", group = "what")]
    pub(crate) log: Option<PathBuf>,
    /// Be driven by another program, line by line, in its time (docs/simulation.md)
    #[arg(long, group = "what", conflicts_with_all = ["html", "json", "seed"])]
    pub(crate) stdio: bool,
    /// With --stdio: the replicas are shards of one process and share what those share
    #[arg(long, requires = "stdio")]
    pub(crate) shared: bool,
    /// Who is compared, separated by commas; `ideal` is the all-knowing bound [default: it, and all that need no key]. With
    /// --stdio, the one who picks [default: the configuration's]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) strategy: Vec<String>,
    /// Where all randomness begins [default: the scenario's, else 1]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// A balancer's configuration, for what strategies run with: outlier, slow_start, engine …
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_of_the_documents_parse() {
        for line in [
            "lemonade worker --framework actix --address 127.0.0.1:50510 --name worker-1 --delay 20",
            "lemonade w -f tokio",
            "lemonade load-balancer --config config/load-balancer.yaml",
            "lemonade lb -c x.yaml -v",
            "lemonade --config path/to/config.json",
            "lemonade",
            "lemonade demo --load --seconds 5",
            "lemonade bench --scenario a.yaml b.yaml --strategy random,ideal --rate 50.5 --html x.html",
            "lemonade check config/load-balancer.yaml --diff",
            "lemonade check --schema",
            "lemonade reload",
            "lemonade simulate --stdio --strategy adaptive --config x.yaml --shared",
            "lemonade status --json",
            "lemonade backends",
            "lemonade backends list --admin 127.0.0.1:1",
            "lemonade backends add 127.0.0.1:1 --weight 2 --persist",
            "lemonade backends weight w1 5",
            "lemonade strategy set random",
            "lemonade strategy set least_connections --ttl 10m",
            "lemonade strategy set auto",
            "lemonade decisions",
            "lemonade decisions -f --json",
            "lemonade strategy",
            "lemonade top",
            "lemonade top --once --json --admin 127.0.0.1:1",
            "lemonade explain /path",
            "lemonade explain POST http://127.0.0.1:50501/path?x=1 -H X-User:ann -H Cookie:a=b --client 192.0.2.7 --json",
            "lemonade explain --last",
            "lemonade explain --last 3 --json",
            "lemonade upgrade",
            "lemonade db migrate",
            "lemonade simulate --scenario a.yaml b.yaml --strategy ideal,random --html report.html",
            "lemonade simulate --log access.jsonl --json",
            "lemonade completions bash",
            "lemonade man",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "lemonade wroker",
            "lemonade simulate",
            "lemonade explain",
            "lemonade explain / --last",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
