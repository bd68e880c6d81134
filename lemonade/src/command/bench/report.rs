//! What came of a bench, told as the simulation tells it, and what the machine did meanwhile.

use super::machine::{Measured, milliseconds, percent};
use crate::command::text::table;
use lemonade_load_balancer::strategy::Name;
use lemonade_simulation::report::{self, Comparison};
use serde_json::{Value, json};

/// What came of one scenario.
pub(super) struct Benched {
    pub(super) comparison: Comparison,
    /// Requests a second that the file asks for.
    pub(super) asked: f64,
    /// Those that were sent.
    pub(super) offered: f64,
    /// How many times as long they took.
    pub(super) times: f64,
    /// One for each strategy that was played for real.
    pub(super) judged: Vec<Judged>,
}

/// What the machine did while a strategy was played.
pub(super) struct Judged {
    pub(super) strategy: Name,
    pub(super) measured: Measured,
    /// Why not to trust the run.
    pub(super) warnings: Vec<String>,
}

impl Benched {
    fn warnings(&self) -> impl Iterator<Item = String> {
        self.judged.iter().flat_map(|judged| {
            let warnings = judged.warnings.iter();
            warnings.map(|warning| format!("WARNING: {}: {warning}", judged.strategy))
        })
    }

    /// With its warnings among the notes, for reports that show nothing else of a bench.
    fn warned(&self) -> Comparison {
        let mut comparison = self.comparison.clone();
        comparison.notes.extend(self.warnings());
        comparison
    }
}

/// The tables of the simulation, one for each scenario of what the machine did, and what is wrong with that.
pub(super) fn text(benched: &[Benched]) -> String {
    let comparisons: Vec<Comparison> = benched.iter().map(|one| one.comparison.clone()).collect();
    let mut text = report::table(&comparisons);
    for one in benched.iter().filter(|one| !one.judged.is_empty()) {
        text.push('\n');
        if benched.len() > 1 {
            text += &format!("{}\n", one.comparison.name);
        }
        text += &machine_table(&one.judged);
        for warning in one.warnings() {
            text += &format!("{warning}\n");
        }
    }
    text
}

fn machine_table(judged: &[Judged]) -> String {
    let head = [
        "strategy",
        "sent late",
        "p50",
        "p99",
        "max",
        "cpu",
        "busiest",
        "stolen",
        "load",
        "balancer",
        "workers",
    ];
    let rows: Vec<Vec<String>> = judged.iter().map(cells).collect();
    table(&head, &rows)
}

fn cells(judged: &Judged) -> Vec<String> {
    let Measured {
        usage, punctuality, ..
    } = judged.measured;
    let cores = |cores: f64| format!("{cores:.2}");
    vec![
        judged.strategy.to_string(),
        percent(punctuality.late),
        milliseconds(punctuality.p50),
        milliseconds(punctuality.p99),
        milliseconds(punctuality.max),
        percent(usage.machine),
        percent(usage.busiest_second),
        percent(usage.stolen),
        cores(usage.generator),
        cores(usage.balancers),
        cores(usage.workers),
    ]
}

/// The simulation's page.
pub(super) fn html(benched: &[Benched]) -> String {
    let comparisons: Vec<Comparison> = benched.iter().map(Benched::warned).collect();
    let title = match &comparisons[..] {
        [one] => format!("Strategies under real load: {}", one.name),
        several => format!("Strategies under real load: {} scenarios", several.len()),
    };
    report::html(&title, &comparisons)
}

/// The simulation's report, with what was measured of the machine added to each strategy.
pub(super) fn json(benched: &[Benched]) -> Value {
    let comparisons: Vec<Comparison> = benched.iter().map(Benched::warned).collect();
    let mut report = report::json(&comparisons);
    for (number, one) in benched.iter().enumerate() {
        let scenario = &mut report["scenarios"][number];
        scenario["asked_requests_per_second"] = json!(one.asked);
        scenario["offered_requests_per_second"] = json!(one.offered);
        scenario["requests_take_times"] = json!(one.times);
        let strategies = scenario["strategies"].as_array_mut();
        for strategy in strategies.into_iter().flatten() {
            let own = |judged: &&Judged| strategy["strategy"] == judged.strategy.as_str();
            if let Some(judged) = one.judged.iter().find(own) {
                strategy["machine"] = judged.measured.json();
                strategy["machine"]["warnings"] = json!(judged.warnings);
            }
        }
    }
    report
}
