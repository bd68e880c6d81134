//! Numbers in few columns: three digits say enough at a glance.

/// `9.5ms`, `120ms`, `1.20s`.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        it if it < 0.000_995 => format!("{:.0}us", it * 1e6),
        it if it < 0.009_95 => format!("{:.1}ms", it * 1e3),
        it if it < 0.999_5 => format!("{:.0}ms", it * 1e3),
        it if it < 9.995 => format!("{it:.2}s"),
        it => format!("{it:.1}s"),
    }
}

pub(super) fn time_or_none(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), time)
}

/// `0`, `9.5`, `812`, `12.3k`, `4.5M`.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        it if it < 0.05 => "0".to_owned(),
        it if it < 9.95 => format!("{it:.1}"),
        it if it < 9999.5 => format!("{it:.0}"),
        it if it < 999_950.0 => format!("{:.1}k", it / 1e3),
        it => format!("{:.1}M", it / 1e6),
    }
}

/// `0%`, `0.1%`, `12%`. What is not nothing never looks like nothing.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        it if it <= 0.0 => "0%".to_owned(),
        it if it < 0.1 => "<0.1%".to_owned(),
        it if it < 9.95 => format!("{it:.1}%"),
        it => format!("{it:.0}%"),
    }
}

/// `part` of `whole`, nothing of nothing.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64,
    }
}

/// `1`, `0.5`, `12.25`.
pub(super) fn weight(weight: f64) -> String {
    let text = format!("{weight:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `1 backend`, `2 backends`.
pub(super) fn count(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_fit_in_six_columns() {
        let times = [
            0.0,
            0.000_999_9,
            0.001,
            0.009_99,
            0.01,
            0.9999,
            1.0,
            9.999,
            10.0,
            999.0,
        ];
        for seconds in times {
            assert!(time(seconds).len() <= 6, "{}", time(seconds));
        }
        for number in [0.0, 0.04, 9.99, 9999.9, 999_999.0, 1e8] {
            assert!(rate(number).len() <= 6, "{}", rate(number));
        }
        assert_eq!(
            [time(0.0095), time(0.12), time(1.2)],
            ["9.5ms", "120ms", "1.20s"]
        );
        assert_eq!(
            [rate(0.5), rate(812.2), rate(12_345.0)],
            ["0.5", "812", "12.3k"]
        );
        assert_eq!(
            [percent(0.0), percent(0.0001), percent(0.125)],
            ["0%", "<0.1%", "12%"]
        );
        assert_eq!(
            [weight(1.0), weight(0.5), weight(100.0)],
            ["1", "0.5", "100"]
        );
    }
}
