//! A balancer between the judge's two ends, started once for all inputs.

use lemonade_config::Environment;
use lemonade_load_balancer::app::{App, Start};
use lemonade_load_balancer::config::Inputs;
use lemonade_test::judge::Judge;
use tokio::runtime::Runtime;

pub struct Bench {
    /// The judge's; the balancer has threads of its own.
    pub runtime: Runtime,
    pub judge: Judge,
    pub app: App,
}

impl Bench {
    /// Never dropped: the fuzzer ends without a word.
    pub fn get() -> &'static Self {
        thread_local! {
            static BENCH: &'static Bench = Box::leak(Box::new(Bench::start()));
        }
        BENCH.with(|bench| *bench)
    }

    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let judge = runtime.block_on(Judge::start());
        let backend = judge.origin().to_string();
        let inputs = Inputs {
            environment: Environment::from_pairs([
                ("LEMONADE_LB_LISTEN_ADDRESS", "127.0.0.1:0"),
                ("LEMONADE_LB_BACKEND_ADDRESSES", &backend),
            ]),
            ..Inputs::default()
        };
        let mut config = inputs.load().unwrap_or_else(|faults| panic!("{faults}")).config;
        config.health = None;
        config.admin = None;
        config.runtime.shards = 1;
        config.retries.attempts = 0;
        let start = Start {
            config,
            ..Start::default()
        };
        Bench {
            runtime,
            judge,
            app: App::start(start).expect("the balancer starts"),
        }
    }
}
