//! Series as bars.

use super::super::sample::Totals;
use std::collections::VecDeque;

const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The newest values, one a column, to the right; `most` is a whole bar. Whatever is not nothing is seen.
pub(super) fn line(
    values: impl DoubleEndedIterator<Item = u64>,
    width: usize,
    most: u64,
) -> String {
    let mut newest: Vec<u64> = values.rev().take(width).collect();
    newest.reverse();
    let bar = |value: u64| BARS[(value * 8).div_ceil(most.max(1)).min(8) as usize];
    let bars: String = newest.into_iter().map(bar).collect();
    format!("{bars:>width$}")
}

/// How seconds that share a column become one value.
#[derive(Clone, Copy)]
pub(super) enum Merge {
    Mean,
    Most,
}

/// All that `totals` may hold in `width` columns, to the right: as many seconds a column as are needed, cut at the same seconds
/// whatever is the last, so that columns do not flicker. Nothing where nothing is known.
pub(super) fn columns(
    totals: &VecDeque<Option<Totals>>,
    reach: usize,
    width: usize,
    merge: Merge,
    of: impl Fn(&Totals) -> Option<f64>,
) -> Vec<Option<f64>> {
    let each = reach.div_ceil(width.max(1)).max(1) as u64;
    let mut columns: Vec<(Option<u64>, Vec<f64>)> = Vec::new();
    for second in totals {
        let at = second.as_ref().map(|second| second.id / each);
        if columns.last().is_none_or(|(last, _)| *last != at) {
            columns.push((at, Vec::new()));
        }
        let value = second.as_ref().and_then(&of);
        if let (Some((_, values)), Some(value)) = (columns.last_mut(), value) {
            values.push(value);
        }
    }
    let mut merged: Vec<Option<f64>> = columns
        .into_iter()
        .map(|(_, values)| merge.all(&values))
        .collect();
    let missing = width.saturating_sub(merged.len());
    let surplus = merged.len().saturating_sub(width);
    merged.drain(..surplus);
    merged.splice(0..0, std::iter::repeat_n(None, missing));
    merged
}

impl Merge {
    fn all(self, values: &[f64]) -> Option<f64> {
        let most = values.iter().copied().reduce(f64::max)?;
        Some(match self {
            Merge::Most => most,
            Merge::Mean => values.iter().sum::<f64>() / values.len() as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_with_values_and_end_on_the_right() {
        assert_eq!(line([0, 1, 50, 100].into_iter(), 6, 100), "   ▁▄█");
        assert_eq!(line([9, 0, 1].into_iter(), 2, 2), " ▄");
        assert_eq!(line([7].into_iter(), 2, 0), " █");
        assert_eq!(line(std::iter::empty(), 2, 1), "  ");
    }

    fn totals(ids: &[Option<u64>]) -> VecDeque<Option<Totals>> {
        let second = |id: u64| Totals {
            id,
            requests: id,
            seconds: 1.0,
            ..Totals::default()
        };
        ids.iter().map(|id| id.map(second)).collect()
    }

    #[test]
    fn seconds_share_columns_and_breaks_are_seen() {
        let seconds = totals(&[Some(1), Some(2), Some(3), None, Some(9)]);
        let rate = |it: &Totals| Some(it.rate());
        let merged = columns(&seconds, 10, 5, Merge::Mean, rate);
        assert_eq!(merged, [None, Some(1.0), Some(2.5), None, Some(9.0)]);
        let merged = columns(&seconds, 10, 5, Merge::Most, rate);
        assert_eq!(merged[2], Some(3.0));
        assert_eq!(columns(&seconds, 5, 2, Merge::Mean, rate).len(), 2);
        assert_eq!(columns(&seconds, 5, 0, Merge::Mean, rate), []);
    }
}
