//! Names of topics with `*` in them.
//!
//! *Not here*: which patterns there are (`config`).

/// Whether a topic is one that the pattern means: each `*` stands for any text, the empty one too, and every other
/// character for itself. Costs a walk over both: what stands between two stars is looked for once, from the left,
/// because a later find leaves less for what follows.
pub fn matches(pattern: &str, topic: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == topic;
    };
    // `rest` has the part behind the last star, empty or not.
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut open) = topic.strip_prefix(first).and_then(|topic| topic.strip_suffix(last)) else {
        return false;
    };
    for part in middle.split('*') {
        match open.find(part) {
            Some(at) => open = &open[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By definition: a star takes nothing, or one character more.
    fn naive(pattern: &[char], topic: &[char]) -> bool {
        match (pattern.split_first(), topic.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) if naive(rest, topic) => true,
            (Some(('*', _)), Some((_, topic))) => naive(pattern, topic),
            (Some((wanted, pattern)), Some((found, topic))) => wanted == found && naive(pattern, topic),
            _ => false,
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, topic) in
            [("speaker-*", "speaker-7"), ("speaker-*", "speaker-"), ("*", ""), ("a*c*e", "abcde"), ("a", "a")]
        {
            assert!(matches(pattern, topic), "{pattern} {topic}");
        }
        for (pattern, topic) in
            [("speaker-*", "speaker"), ("*a", "ab"), ("a*a", "a"), ("", "a"), ("a*b*", "ba")]
        {
            assert!(!matches(pattern, topic), "{pattern} {topic}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_few() {
        // Backtracking would try some 10^40 ways, and this test would not end.
        assert!(!matches(&"*a".repeat(128).replace("*a*a", "*a*b"), &"a".repeat(256)));
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(pattern in "[ab*é]{0,9}", topic in "[abé]{0,12}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &topic), naive(&chars(&pattern), &chars(&topic)));
        }
    }
}
