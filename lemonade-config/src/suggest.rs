//! "Did you mean": the nearest known word to one that is not known.
//!
//! Called for unknown keys and enum words here, and by the commands for strategy and backend names. Promise: silence
//! rather than a far-fetched guess.

/// Longer words are nobody's typing mistake, and the distance below costs the product of both lengths.
const MAX_WORD: usize = 64;

/// The candidate nearest to `word`, if it is near enough to have been meant.
///
/// Near is one edit for every three letters (Damerau-Levenshtein, so a swap is one edit), ignoring case and `-`
/// against `_`; a candidate that begins with three or more typed letters is near too (`addr`, `address`).
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_WORD {
        return None;
    }
    let word = plain(word);
    let furthest = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(&word, &plain(candidate), furthest)?, candidate)))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Finds out whether two words are near; a beginning counts as just near enough.
fn distance(word: &str, candidate: &str, furthest: usize) -> Option<usize> {
    let distance = strsim::damerau_levenshtein(word, candidate);
    if distance <= furthest && distance < candidate.chars().count() {
        return Some(distance);
    }
    (word.len() >= 3 && candidate.starts_with(word)).then_some(furthest + 1)
}

fn plain(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::suggest;

    const KEYS: [&str; 5] = ["address", "max_in_flight", "name", "tier", "weight"];

    #[test]
    fn near_words_are_suggested() {
        for (word, meant) in [
            ("wieght", "weight"),
            ("Weight", "weight"),
            ("max-in-flight", "max_in_flight"),
            ("addr", "address"),
            ("nam", "name"),
        ] {
            assert_eq!(suggest(word, KEYS), Some(meant), "{word}");
        }
    }

    #[test]
    fn far_words_are_not() {
        for word in ["", "x", "colour", "te", &"a".repeat(100_000)] {
            assert_eq!(suggest(word, KEYS), None, "{word}");
        }
    }
}
