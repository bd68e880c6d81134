//! A comparison as JSON; `docs/simulation.md` says what every field means. The same comparison makes the same bytes.

use super::{Comparison, Counts, Run, Series, overall};
use serde_json::{Value, json};
use std::time::Duration;

/// All comparisons, and what each strategy did over all of them.
pub fn json(comparisons: &[Comparison]) -> Value {
    let scenarios: Vec<Value> = comparisons.iter().map(scenario).collect();
    let overall: Vec<Value> = overall(comparisons)
        .into_iter()
        .map(|row| {
            json!({
                "strategy": row.strategy,
                "ratio_to_ideal": row.ratio_to_ideal,
                "worst_ratio": row.worst,
                "worst_in": row.worst_in,
                "error_rate": row.error_rate,
            })
        })
        .collect();
    json!({ "scenarios": scenarios, "overall": overall })
}

fn scenario(comparison: &Comparison) -> Value {
    let backends = comparison.backends.iter();
    let troubles = comparison.troubles.iter();
    let runs = comparison.runs.iter();
    json!({
        "name": comparison.name,
        "about": comparison.about,
        "seed": comparison.seed,
        "duration_seconds": comparison.duration.as_secs_f64(),
        "backends": backends
            .map(|backend| json!({ "name": backend.name, "fair_share": backend.fair_share }))
            .collect::<Vec<_>>(),
        "faults": troubles
            .map(|trouble| json!({
                "fault": trouble.what,
                "from_seconds": trouble.span.start.as_secs_f64(),
                "to_seconds": trouble.span.end.as_secs_f64(),
                "backends": trouble.backends,
            }))
            .collect::<Vec<_>>(),
        "notes": comparison.notes,
        "strategies": runs.map(|run| strategy(comparison, run)).collect::<Vec<_>>(),
    })
}

fn strategy(comparison: &Comparison, run: &Run) -> Value {
    let seconds = |time: Duration| time.as_secs_f64();
    json!({
        "strategy": run.strategy,
        "requests": run.counts.requests,
        "errors": errors(&run.counts),
        "latency_seconds": {
            "p50": seconds(run.latency(0.5)),
            "p90": seconds(run.latency(0.9)),
            "p99": seconds(run.latency(0.99)),
            "p99_9": seconds(run.latency(0.999)),
            "max": seconds(run.max()),
            "mean": seconds(run.mean()),
        },
        "ratio_to_ideal": comparison.ratio_to_ideal(run),
        "imbalance": run.imbalance(&comparison.backends),
        "shares": run.shares,
        "series": series(&run.series),
    })
}

fn errors(counts: &Counts) -> Value {
    json!({
        "total": counts.errors(),
        "failed": counts.failed,
        "refused": counts.refused,
        "broken": counts.broken,
        "timed_out": counts.timed_out,
    })
}

fn series(series: &Series) -> Value {
    let points = || series.points.iter();
    let p99 = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    json!({
        "step_seconds": series.step.as_secs_f64(),
        "requests": points().map(|point| point.requests).collect::<Vec<_>>(),
        "errors": points().map(|point| point.errors).collect::<Vec<_>>(),
        "p99_seconds": points().map(|point| p99(point.p99)).collect::<Vec<_>>(),
        "shares": points().map(|point| &point.shares).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::comparison;

    #[test]
    fn fields_that_programs_read_are_there() {
        let told = json(&[comparison("one")]);
        let scenario = &told["scenarios"][0];
        assert_eq!(scenario["faults"][0]["fault"], "slow");
        let run = &scenario["strategies"][1];
        assert_eq!(run["strategy"], "round_robin");
        assert_eq!(run["errors"]["failed"], 1);
        assert_eq!(run["latency_seconds"]["mean"], 0.020008);
        assert_eq!(run["latency_seconds"]["p99"], 0.020008);
        assert!((run["ratio_to_ideal"].as_f64().unwrap() - 2.0).abs() < 0.002);
        assert_eq!(run["series"]["requests"], json!([100]));
        assert_eq!(told["overall"][1]["worst_in"], "one");
    }
}
