//! `[[pacing.topic]]`: rules that give topics their pace, as each source writes them.
//!
//! ```text
//! file, etcd, API   [[pacing.topic]] match = "speaker-*"  rate = 500  weight = 3
//! environment       speaker-*=500/3,alarm-*=2000
//! ```
//! *Not here*: which topics a pattern means (`push::pattern`).

use serde_json::{Value, json};

use super::TopicPace;
use super::given::Given;
use super::problem::Wrong;
use fanfare_core::limits::{PACING_TOPICS_MAX, PUSH_WEIGHT_MAX, TOPIC_BYTES_MAX};
use fanfare_core::push::rate::Rate;

/// What to give when a value is none of this.
pub(super) const REMEDY: &str = "give [{ match = \"speaker-*\", rate = 500, weight = 1 }] or [[pacing.topic]] tables; in \
                                 the environment, pattern=rate or pattern=rate/weight, separated by commas";

/// The rules, in the order in which they are looked at.
pub(super) fn read(given: &Given) -> Result<Vec<TopicPace>, Wrong> {
    let paces: Vec<Result<TopicPace, String>> = match given {
        Given::Plain(text) if text.trim().is_empty() => Vec::new(),
        Given::Plain(text) => text.split(',').map(|rule| from_text(rule.trim())).collect(),
        Given::List(rules) => rules.iter().map(from_table).collect(),
        other => return Err(wrong(format!("{other} is not a list of rules"))),
    };
    if paces.len() > PACING_TOPICS_MAX {
        return Err(wrong(format!("there are more than {PACING_TOPICS_MAX} rules")));
    }
    let numbered = paces.into_iter().enumerate();
    numbered.map(|(n, pace)| pace.map_err(|what| wrong(format!("rule {}: {what}", n + 1)))).collect()
}

fn wrong(what: String) -> Wrong {
    Wrong { what, remedy: REMEDY.into() }
}

/// `pattern=rate` or `pattern=rate/weight`. A pattern may have a `=` too.
fn from_text(rule: &str) -> Result<TopicPace, String> {
    let (pattern, pace) = rule.rsplit_once('=').ok_or_else(|| format!("{rule:?} has no ="))?;
    let (rate, weight) = match pace.split_once('/') {
        Some((rate, weight)) => (rate, Given::Plain(weight.into())),
        None => (pace, Given::Whole(1)),
    };
    pace_of(Some(pattern), Some(&Given::Plain(rate.into())), &weight)
}

fn from_table(rule: &Given) -> Result<TopicPace, String> {
    let Given::Table(entries) = rule else { return Err(format!("{rule} is not a table")) };
    let (mut pattern, mut rate, mut weight) = (None, None, &Given::Whole(1));
    for (name, value) in entries {
        match name.as_str() {
            "match" => pattern = Some(value.text().ok_or_else(|| format!("match = {value} is not text"))?),
            "rate" => rate = Some(value),
            "weight" => weight = value,
            _ => return Err(format!("{name:?} is none of match, rate, weight")),
        }
    }
    pace_of(pattern, rate, weight)
}

fn pace_of(pattern: Option<&str>, rate: Option<&Given>, weight: &Given) -> Result<TopicPace, String> {
    let pattern = pattern.ok_or("match is missing")?;
    if pattern.is_empty() || pattern.len() > TOPIC_BYTES_MAX || pattern.contains(char::is_control) {
        return Err(format!("a pattern has 1 to {TOPIC_BYTES_MAX} bytes and no control character"));
    }
    let rate = rate.ok_or("rate is missing")?;
    let number = rate.number().ok_or_else(|| format!("rate = {rate} is not a number"))?;
    let rate = Rate::per_second(number).map_err(|bad| format!("rate = {rate}: {bad}"))?;
    let whole = weight.whole().and_then(|weight| u32::try_from(weight).ok());
    match whole.filter(|weight| (1..=PUSH_WEIGHT_MAX).contains(weight)) {
        Some(weight) => Ok(TopicPace { pattern: pattern.to_owned(), rate, weight }),
        None => Err(format!("weight = {weight} is not a whole number from 1 to {PUSH_WEIGHT_MAX}")),
    }
}

/// As an array of inline tables.
pub(super) fn to_toml(paces: &[TopicPace]) -> String {
    let rule = |pace: &TopicPace| {
        let pattern = toml::Value::String(pace.pattern.clone());
        format!("{{ match = {pattern}, rate = {}, weight = {} }}", pace.rate, pace.weight)
    };
    format!("[{}]", paces.iter().map(rule).collect::<Vec<_>>().join(", "))
}

/// As an object with the names of the file.
pub(super) fn to_json(pace: &TopicPace) -> Value {
    json!({"match": pace.pattern, "rate": json_of_rate(pace.rate), "weight": pace.weight})
}

/// A whole number where it is one.
pub(super) fn json_of_rate(rate: Rate) -> Value {
    if rate.milli().is_multiple_of(1000) { (rate.milli() / 1000).into() } else { rate.as_f64().into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(pattern: &str, rate: f64, weight: u32) -> TopicPace {
        TopicPace { pattern: pattern.into(), rate: Rate::per_second(rate).expect("a rate"), weight }
    }

    fn table(entries: &[(&str, Given)]) -> Given {
        Given::Table(entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    #[test]
    fn a_line_of_the_environment_is_the_same_as_tables() {
        let line = Given::Plain("speaker-*=500, a=b=12.5/3".into());
        let paces = vec![pace("speaker-*", 500.0, 1), pace("a=b", 12.5, 3)];
        assert_eq!(read(&line).expect("rules"), paces);
        let tables = Given::List(vec![
            table(&[("match", Given::Text("speaker-*".into())), ("rate", Given::Whole(500))]),
            table(&[
                ("match", Given::Text("a=b".into())),
                ("rate", Given::Fraction(12.5)),
                ("weight", Given::Whole(3)),
            ]),
        ]);
        assert_eq!(read(&tables).expect("rules"), paces);
        assert_eq!(read(&Given::Plain(" ".into())).expect("no rules"), []);
    }

    #[test]
    fn what_is_no_rule_is_refused_with_its_number_and_its_reason() {
        let text = Given::Text("x".into());
        for (given, what) in [
            (Given::Plain("a=1,b".into()), "rule 2: \"b\" has no ="),
            (Given::Plain("a=fast".into()), "rule 1: rate = \"fast\" is not a number"),
            (
                Given::Plain("a=0".into()),
                "rule 1: rate = \"0\": a rate is from 0.1 to 10000000 devices per second",
            ),
            (Given::Plain("a=1/0".into()), "rule 1: weight = \"0\" is not a whole number from 1 to 1000"),
            (Given::Plain("=1".into()), "rule 1: a pattern has 1 to 256 bytes and no control character"),
            (Given::List(vec![table(&[("rate", Given::Whole(1))])]), "rule 1: match is missing"),
            (Given::List(vec![table(&[("match", text.clone())])]), "rule 1: rate is missing"),
            (
                Given::List(vec![table(&[("pace", Given::Whole(1))])]),
                "rule 1: \"pace\" is none of match, rate, weight",
            ),
            (Given::List(vec![text]), "rule 1: \"x\" is not a table"),
            (Given::Whole(1), "1 is not a list of rules"),
        ] {
            assert_eq!(read(&given).expect_err("no rules").what, what);
        }
        let many = Given::Plain(vec!["a=1"; PACING_TOPICS_MAX + 1].join(","));
        assert!(read(&many).is_err());
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "[a*=/,0-9. ]{0,40}") {
            let _ = read(&Given::Plain(line));
        }
    }
}
