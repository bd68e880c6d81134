//! The demo's live table: who served what in the last second.

use super::load::Load;
use lemonade_load_balancer::snapshot::{Member, Published};
use lemonade_load_balancer::stats::StatusClass;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Width of the widest share bar.
const BAR: usize = 24;

/// Shows the table once a second, in place on a terminal and one below the other elsewhere.
pub(super) fn show(
    published: Published,
    frameworks: [&'static str; 5],
) -> impl FnOnce(Arc<Load>) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
    move |load| {
        Box::pin(async move {
            let mut ticker = tokio::time::interval(Duration::from_secs(1));
            ticker.tick().await;
            let mut before = Counts::of(&published, &load);
            let in_place = std::io::stdout().is_terminal();
            let mut lines = 0;
            loop {
                ticker.tick().await;
                let now = Counts::of(&published, &load);
                let text = table(&published, &frameworks, &before, &now);
                if in_place && lines > 0 {
                    print!("\x1b[{lines}A\x1b[J");
                }
                print!("{text}");
                // A closed pipe ends the demo's show, not the demo.
                let _ = std::io::stdout().flush();
                lines = text.lines().count();
                before = now;
            }
        })
    }
}

/// Running totals at one moment.
struct Counts {
    served: Vec<u64>,
    answered: u64,
    failed: u64,
}

impl Counts {
    fn of(published: &Published, load: &Load) -> Self {
        Counts {
            served: published.load().members.iter().map(served).collect(),
            answered: load.answered.load(Relaxed),
            failed: load.failed.load(Relaxed),
        }
    }
}

/// Answers of a backend so far, all status classes and shards together.
fn served(member: &Member) -> u64 {
    let classes = 0..StatusClass::LABELS.len();
    member
        .live
        .stats
        .iter()
        .map(|shard| {
            classes
                .clone()
                .map(|class| shard.responses[class].load(Relaxed))
                .sum::<u64>()
        })
        .sum()
}

fn table(published: &Published, frameworks: &[&str], before: &Counts, now: &Counts) -> String {
    let snapshot = published.load();
    let rates: Vec<u64> = now
        .served
        .iter()
        .zip(&before.served)
        .map(|(now, before)| now.saturating_sub(*before))
        .collect();
    let total: u64 = rates.iter().sum();
    let mut text = String::new();
    // Writing to a `String` cannot fail, here and below.
    let _ = writeln!(
        text,
        "{:<16} {:<10} {:<10} {:>7} {:>9} {:>7}  {:<BAR$}",
        "worker", "framework", "state", "req/s", "in flight", "share", ""
    );
    for ((member, rate), framework) in snapshot.members.iter().zip(&rates).zip(frameworks) {
        let share = if total == 0 {
            0.0
        } else {
            *rate as f64 / total as f64
        };
        let bar = "█".repeat((share * BAR as f64).round() as usize);
        let _ = writeln!(
            text,
            "{:<16} {:<10} {:<10} {:>7} {:>9} {:>6.1}%  {bar}",
            member.config.name,
            framework,
            member.live.state.get().name(),
            rate,
            member.live.load.in_flight(),
            share * 100.0,
        );
    }
    let answered = now.answered - before.answered;
    let _ = writeln!(
        text,
        "{} answers/s by {}; {} in all, {} failed\n",
        answered, snapshot.strategy_name, now.answered, now.failed
    );
    text
}
