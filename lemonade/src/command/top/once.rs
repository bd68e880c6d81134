//! `lemonade top --once`: one picture as plain text, or the sample behind it as JSON.

use super::feed::get;
use super::figures;
use super::rows::{Row, Sort, rows};
use super::sample::{Columns, Sample, Totals};
use super::verdict::verdict;
use super::watched::{MINUTES, Update, Watched};
use crate::client::{Client, Feed};
use crate::command::Failure;
use crate::command::text;
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// A process has its first sample after a second.
const SILENCE: Duration = Duration::from_secs(5);

pub(super) async fn print(client: &Client, as_json: bool) -> Result<(), Failure> {
    let sample = last_sample(client).await?;
    if as_json {
        return text::print(&format!("{sample:#}\n"));
    }
    let watched = watched(client, &sample).await?;
    text::print(&picture(&watched))
}

/// The first that the stream tells is the last that there is.
async fn last_sample(client: &Client) -> Result<Value, Failure> {
    let feed = Feed {
        path: "/live",
        after: None,
        silence: Some(SILENCE),
    };
    let mut sample = None;
    let enough = || Failure::Failed("the balancer told no sample".to_owned());
    let told = |event: &crate::client::Event| {
        sample = (event.kind == "sample").then(|| event.json());
        match sample.is_some() {
            true => Err(enough()),
            false => Ok(()),
        }
    };
    let end = client.follow(&feed, told).await;
    match (sample, end) {
        (Some(sample), _) => Ok(sample),
        (None, Err(failure)) => Err(failure),
        (None, Ok(())) => Err(enough()),
    }
}

/// The same with the seconds before it, which the verdict is about.
async fn watched(client: &Client, sample: &Value) -> Result<Watched, Failure> {
    let mut watched = Watched::default();
    let now = Instant::now();
    let totals = get(client, &format!("/history?seconds={MINUTES}")).await?;
    let columns = get(client, "/history/backends?seconds=60").await?;
    let began = Update::Began {
        totals: Vec::<Totals>::deserialize(&totals["samples"]).unwrap_or_default(),
        columns: Columns::deserialize(columns).unwrap_or_default(),
    };
    watched.apply(began, now);
    let sample = Sample::deserialize(sample).map_err(|error| Failure::Failed(error.to_string()))?;
    watched.apply(Update::Sample(Box::new(sample)), now);
    watched.apply(Update::Status(get(client, "/status").await?), now);
    Ok(watched)
}

fn picture(watched: &Watched) -> String {
    let mut text = String::new();
    for finding in verdict(watched, Instant::now()) {
        let _ = writeln!(text, "{} {}", finding.level.symbol(), finding.words);
    }
    if let Some(last) = watched.last() {
        text.push_str(&whole(last));
    }
    text.push('\n');
    let rows: Vec<Vec<String>> = rows(watched, Sort::default(), false, "")
        .iter()
        .map(cells)
        .collect();
    let head = [
        "STATE",
        "NAME",
        "SHARE",
        "RATE",
        "P50",
        "P99",
        "ERRORS",
        "IN FLIGHT",
        "WEIGHT",
        "EJECTIONS",
        "WHY",
    ];
    text + &text::table(&head, &rows)
}

fn whole(last: &Totals) -> String {
    let picks = match last.strategy == last.picks {
        true => last.strategy.clone(),
        false => format!("{}: {} picks", last.strategy, last.picks),
    };
    format!(
        "{}  {picks}  {} requests/s  p50 {}  p99 {}  {} in flight  {} queued  {} connections\n",
        last.time,
        figures::rate(last.rate()),
        figures::time_or_none(last.p50_seconds),
        figures::time_or_none(last.p99_seconds),
        last.in_flight,
        last.queued,
        last.connections,
    )
}

fn cells(row: &Row<'_>) -> Vec<String> {
    let backend = row.backend;
    let plain = super::happened::one_line;
    vec![
        backend.state.word().to_owned(),
        plain(&backend.name),
        figures::percent(backend.share),
        figures::rate(row.rate),
        figures::time_or_none(backend.p50_seconds),
        figures::time_or_none(backend.p99_seconds),
        figures::percent(row.errors),
        backend.in_flight.to_string(),
        figures::weight(backend.weight),
        backend.ejections.to_string(),
        plain(backend.why.as_deref().unwrap_or("")),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::watched::tests::watched;
    use super::*;

    #[test]
    fn picture_is_plain_text_with_trouble_on_top() {
        let picture = picture(&watched(&[
            ("w1", "healthy", 90, 0),
            ("w3", "ejected", 0, 0),
        ]));
        let lines: Vec<&str> = picture.lines().collect();
        assert_eq!(
            lines[0],
            "! 1 of 2 backends is out: w3 ejected (5 failures in a row)"
        );
        assert!(
            lines[1].contains("adaptive: least_delay picks  90 requests/s  p50 10ms"),
            "{picture}"
        );
        assert!(
            lines[3].starts_with("STATE ") && lines[4].starts_with("ejected  w3 "),
            "{picture}"
        );
        assert!(
            lines[4].ends_with("5 failures in a row") && lines[5].contains(" 100% "),
            "{picture}"
        );
        assert!(!picture.contains('\u{1b}'));
    }
}
