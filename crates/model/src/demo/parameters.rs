//! Reading the parameters of an intent out of a prompt. What is not read as one stays behind, and must be a known word.

use std::collections::BTreeSet;

use super::book::{Sequence, any_of, book, is_one_of};
use super::formula::{self, Formula};
use super::words::is_number;

/// The parameters of an intent.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// What replaces `$name` in the code.
    pub(super) values: Vec<(&'static str, String)>,
    /// The tokens that were read.
    pub(super) used: BTreeSet<usize>,
    /// Words that were understood besides.
    pub(super) words: String,
    /// Why the prompt asks for too much.
    pub(super) excess: Option<String>,
}

impl Taken {
    fn new(values: Vec<(&'static str, String)>, used: impl IntoIterator<Item = usize>) -> Self {
        Self { values, used: used.into_iter().collect(), ..Self::default() }
    }
}

fn span(formula: &Formula) -> std::ops::Range<usize> {
    formula.span.0..formula.span.1
}

/// Formulas in x, and two without for the range.
pub(super) fn curves(tokens: &[String]) -> Option<Taken> {
    let (mut curves, bounds): (Vec<_>, Vec<_>) =
        formula::find(tokens).into_iter().partition(|found| found.has_x);
    let used: Vec<usize> = curves.iter().chain(&bounds).flat_map(span).collect();
    // "f(x) = …" and "for x from …" name x without being a formula.
    let is_lone = |curve: &Formula| matches!(curve.python.as_str(), "x" | "(x)");
    if curves.iter().any(|curve| !is_lone(curve)) {
        curves.retain(|curve| !is_lone(curve));
    }
    curves.truncate(curves.iter().position(is_lone).map_or(usize::MAX, |first| first + 1));
    let (low, high) = match bounds.as_slice() {
        [] => ("-10".to_owned(), "10".to_owned()),
        [low, high] => (low.python.clone(), high.python.clone()),
        _ => return None,
    };
    let label = |curve: &Formula| tokens[span(curve)].concat();
    let pairs: Vec<String> =
        curves.iter().map(|curve| format!("({:?}, {})", label(curve), curve.python)).collect();
    (!pairs.is_empty())
        .then(|| Taken::new(vec![("curves", pairs.join(", ")), ("low", low), ("high", high)], used))
}

/// One attached table.
pub(super) fn file(files: &[String]) -> Option<Taken> {
    let is_table = |file: &&String| [".csv", ".tsv"].iter().any(|end| file.to_lowercase().ends_with(end));
    let tables: Vec<_> = files.iter().filter(is_table).collect();
    // A JSON string is a Python string too.
    let [table] = tables.as_slice() else { return None };
    Some(Taken::new(vec![("file", serde_json::Value::from(table.as_str()).to_string())], []))
}

/// How many months: a number of months, quarters or years, or a year.
pub(super) fn months(tokens: &[String]) -> Option<Taken> {
    let numbers: Vec<usize> = (0..tokens.len()).filter(|at| is_number(&tokens[*at])).collect();
    let months = match numbers.as_slice() {
        [] => 12,
        [at] => {
            let unit = tokens.get(at + 1)?;
            let unit = [("month", 1), ("quarter", 3), ("year", 12)]
                .iter()
                .find(|(word, _)| is_one_of(unit, word))?
                .1;
            tokens[*at].parse::<u64>().ok()?.checked_mul(unit)?
        }
        _ => return None,
    };
    let mut taken = Taken::new(vec![("months", months.to_string())], numbers);
    if !(1..=120).contains(&months) {
        taken.excess = Some("sample sales go from 1 to 120 months".to_owned());
    }
    Some(taken)
}

/// A list, as Python, and its tokens: within brackets, else at least two numbers with nothing but commas and "and" between.
fn list(tokens: &[String]) -> Option<(String, Vec<usize>)> {
    let number = |at: &usize| is_number(&tokens[*at]);
    let range =
        match (tokens.iter().position(|token| token == "["), tokens.iter().position(|token| token == "]")) {
            (Some(open), Some(close)) if open < close => open + 1..close,
            (None, None) => (0..tokens.len()).find(number)?..(0..tokens.len()).rfind(number)? + 1,
            _ => return None,
        };
    let bare = range.end == tokens.len() || tokens[range.end] != "]";
    let numbers: Vec<String> =
        range.clone().filter(number).map(|at| tokens[at].trim_start_matches('+').to_owned()).collect();
    let clean = range.clone().all(|at| number(&at) || matches!(tokens[at].as_str(), "," | "and" | ";" | "&"));
    let plain = numbers
        .iter()
        .all(|number| !number.trim_start_matches('-').starts_with("00") && has_no_extra_zero(number));
    let enough = numbers.len() >= if bare { 2 } else { 1 };
    (clean && plain && enough).then(|| (format!("[{}]", numbers.join(", ")), range.collect()))
}

/// Python refuses `007`.
fn has_no_extra_zero(number: &str) -> bool {
    let digits = number.trim_start_matches('-');
    digits == "0" || digits.starts_with("0.") || !digits.starts_with('0')
}

/// One algorithm, a list or none, and what to look for in it.
pub(super) fn search(tokens: &[String]) -> Option<Taken> {
    let (values, mut used) = list(tokens).unwrap_or_else(|| ("None".to_owned(), Vec::new()));
    let targets: Vec<usize> =
        (0..tokens.len()).filter(|at| is_number(&tokens[*at]) && !used.contains(at)).collect();
    let wanted: Vec<&str> =
        targets.iter().map(|at| tokens[*at].as_str()).filter(|text| has_no_extra_zero(text)).collect();
    if wanted.len() != targets.len() || (used.is_empty() && wanted.len() > 1) {
        return None;
    }
    used.extend(targets);
    let mut named =
        book().algorithm.iter().filter(|row| !row.words.is_empty() && named_by(tokens, &row.words));
    let row = named.next().filter(|_| named.next().is_none())?;
    let wanted = format!("[{}]", wanted.join(", "));
    let values = vec![
        ("function", row.code.trim().to_owned()),
        ("prepare", row.prepare.clone()),
        ("list", values),
        ("targets", wanted),
    ];
    Some(Taken::new(values, used))
}

/// One algorithm or none, a list or none, and the direction.
pub(super) fn sort(tokens: &[String]) -> Option<Taken> {
    let (values, used) = list(tokens).unwrap_or_else(|| ("None".to_owned(), Vec::new()));
    let mut named = book().algorithm.iter().filter(|row| named_by(tokens, &row.words));
    let (row, another) = (named.next()?, named.next());
    if another.is_some_and(|another| !another.words.is_empty()) {
        return None;
    }
    let place = |words| tokens.iter().position(|token| is_one_of(token, words));
    let falls = match (place("largest highest biggest"), place("smallest lowest")) {
        (Some(large), Some(small)) => large < small,
        _ => any_of(tokens, "descending reverse reversed decreasing"),
    };
    let (direction, slice) = if falls { (", descending", "[::-1]") } else { ("", "") };
    let values = vec![
        ("function", row.code.trim().to_owned()),
        ("list", values),
        ("direction", direction.to_owned()),
        ("slice", slice.to_owned()),
    ];
    Some(Taken::new(values, used))
}

/// Whether every one of the words is there; "sorted" and "sorting" are forms of "sort".
fn named_by(tokens: &[String], words: &str) -> bool {
    words
        .split_whitespace()
        .all(|word| any_of(tokens, word) || (word == "sort" && any_of(tokens, "sorted sorting")))
}

/// All numbers of the prompt, each an integer within the bound.
pub(super) fn integers(tokens: &[String], most: u64) -> Option<Taken> {
    let numbers: Vec<usize> = (0..tokens.len()).filter(|at| is_number(&tokens[*at])).collect();
    let values: Vec<i128> = numbers.iter().map(|at| tokens[*at].parse().ok()).collect::<Option<_>>()?;
    let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
    let mut taken = Taken::new(vec![("integers", format!("[{}]", shown.join(", ")))], numbers);
    if values.iter().any(|value| value.unsigned_abs() > u128::from(most)) {
        taken.excess = Some(format!("this goes up to {most}"));
    }
    (!values.is_empty()).then_some(taken)
}

/// A list, and what is wanted of it.
pub(super) fn statistics(tokens: &[String]) -> Option<Taken> {
    let (values, used) = list(tokens)?;
    let (aggregates, words) = aggregates(tokens);
    (!aggregates.is_empty())
        .then(|| Taken { words, ..Taken::new(vec![("list", values), ("aggregates", aggregates)], used) })
}

/// The lines that print what is wanted of a list, and the words that wanted it.
fn aggregates(tokens: &[String]) -> (String, String) {
    let book = book();
    let all = any_of(tokens, &book.everything);
    let mut words = if all { book.everything.clone() } else { String::new() };
    let mut lines = Vec::new();
    for row in &book.aggregate {
        if all || (any_of(tokens, &row.words) && !any_of(tokens, &row.unless)) {
            lines.push(format!("print(f\"{}: {{show({})}}\")", row.label, row.code));
            words = format!("{words} {}", row.words);
        }
    }
    (lines.join("\n"), words)
}

/// One expression that holds every number of the prompt.
pub(super) fn expression(tokens: &[String]) -> Option<Taken> {
    let found = formula::find(tokens);
    let [only] = found.as_slice() else { return None };
    let label = tokens[span(only)].join(" ").replace("( ", "(").replace(" )", ")").replace(" !", "!");
    let values = vec![("expression", only.python.clone()), ("label", label)];
    (only.computes && !only.has_x).then(|| Taken::new(values, span(only)))
}

/// Which terms of a sequence.
enum Part {
    First(u64),
    Nth(u64),
    Below(i64),
    UpTo(i64),
    Between(i64, i64),
}

/// One kind of sequence, which part of it, and what is wanted of that.
pub(super) fn sequence(tokens: &[String]) -> Option<Taken> {
    let mut rows: Vec<&Sequence> = book().sequence.iter().filter(|row| any_of(tokens, &row.words)).collect();
    if rows.len() > 1 {
        // "prime numbers" are primes.
        rows.retain(|row| row.label != "integers");
    }
    let [row] = rows.as_slice() else { return None };
    let place = tokens.iter().position(|token| is_one_of(token, &row.words))?;
    let (aggregates, mut words) = aggregates(tokens);
    // "The square of the sum" is not the sum of the squares.
    let of_arguments = tokens.get(place + 1).is_some_and(|token| token == "of");
    let next = tokens[place + 1..].iter().find(|token| !matches!(token.as_str(), "of" | "the"));
    let joined = tokens.get(place + 1).is_some_and(|token| token == "of" || token == "the");
    if joined && next.is_some_and(|next| is_one_of(next, &words)) {
        return None;
    }
    let mut used = BTreeSet::new();
    let base = if row.base { Some(base(tokens, place, &mut used)?) } else { None };
    let part = part(tokens, place, &mut used)?;
    let (low, slice, tail) = row.slice(&part, of_arguments, tokens)?;
    words = format!("{words} {}", row.words);
    let base = base.map(|base| base.to_string()).unwrap_or_default();
    let values = vec![
        ("terms", row.terms.clone()),
        ("label", format!("{}{tail}", row.label)),
        ("slice", slice),
        ("low", low.to_string()),
        ("base", base),
        ("aggregates", aggregates),
    ];
    Some(Taken { values, used, words, excess: row.excess(&part) })
}

/// The number after "powers of", "multiples of" or "divisible by".
fn base(tokens: &[String], place: usize, used: &mut BTreeSet<usize>) -> Option<u32> {
    let at = place + 2;
    let joined = matches!(tokens.get(place + 1)?.as_str(), "of" | "by");
    used.extend([place + 1, at]);
    tokens.get(at)?.parse().ok().filter(|base| joined && *base >= 1)
}

/// Reads the one part that is named; two of them are not understood.
fn part(tokens: &[String], place: usize, used: &mut BTreeSet<usize>) -> Option<Part> {
    let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let whole = |text: &&str| text.parse::<i64>().ok();
    let count = |text: &&str| text.parse::<u64>().ok();
    let mut found = None;
    let mut at = 0;
    while at < words.len() {
        let rest = &words[at..];
        let read = match rest {
            _ if used.contains(&at) => None,
            ["first" | "initial", n, ..] if count(n).is_some() => Some((Part::First(count(n)?), 2)),
            ["from" | "between", a, "to" | "and" | "-" | "through" | "until", b, ..]
                if whole(a).is_some() =>
            {
                Some((Part::Between(whole(a)?, whole(b)?), 4))
            }
            [a, "to" | "-" | "through", b, ..] if whole(a).is_some() => {
                Some((Part::Between(whole(a)?, whole(b)?), 3))
            }
            ["less" | "smaller" | "lower", "than", "or", "equal", "to", n, ..] => {
                Some((Part::UpTo(whole(n)?), 6))
            }
            ["less" | "smaller" | "lower", "than", n, ..] => Some((Part::Below(whole(n)?), 3)),
            ["under" | "below", n, ..] => Some((Part::Below(whole(n)?), 2)),
            ["up", "to", n, ..] | ["not", "exceeding", n, ..] | ["at", "most", n, ..] => {
                Some((Part::UpTo(whole(n)?), 3))
            }
            ["to" | "until" | "through", n, ..] if whole(n).is_some() => Some((Part::UpTo(whole(n)?), 2)),
            [n, ..] if count(n).is_some() && (at + 1..=at + 2).contains(&place) => {
                Some((Part::First(count(n)?), 1))
            }
            [n, ..] => ["st", "nd", "rd", "th"]
                .iter()
                .find_map(|ending| count(&n.strip_suffix(ending)?))
                .map(|nth| (Part::Nth(nth), 1)),
            [] => None,
        };
        let Some((part, length)) = read else {
            at += 1;
            continue;
        };
        if found.replace(part).is_some() {
            return None;
        }
        used.extend(at..at + length);
        at += length;
    }
    found
}

impl Sequence {
    /// Returns where the terms begin, the Python that cuts them, and the words for that.
    fn slice(&self, part: &Part, of_arguments: bool, tokens: &[String]) -> Option<(i64, String, String)> {
        let of_values = any_of(tokens, "perfect") || (!of_arguments && any_of(tokens, "number"));
        let by_argument = self.arguments && !of_values;
        let take = |condition: String| format!("takewhile(lambda value: value {condition}, terms)");
        Some(match *part {
            Part::First(count) => (1, format!("islice(terms, {count})"), format!(", the first {count}")),
            Part::Nth(0) => return None,
            Part::Nth(nth) => {
                let start = if self.zero { nth } else { nth - 1 };
                (1, format!("islice(terms, {start}, {})", start + 1), format!(", number {nth}"))
            }
            Part::Between(low, high) if low > high => return None,
            Part::Between(low, high) if by_argument => (
                low.max(0),
                format!("islice(terms, {})", high - low.max(0) + 1),
                format!(" of {low} to {high}"),
            ),
            Part::Between(low, high) => {
                let start = if self.whole { low } else { 1 };
                let from = format!(
                    "takewhile(lambda value: value <= {high}, dropwhile(lambda value: value < {low}, terms))"
                );
                (start, from, format!(" from {low} to {high}"))
            }
            Part::Below(high) if self.arguments && of_arguments => {
                (1, format!("islice(terms, {})", (high - 1).max(0)), format!(" of 1 to {}", high - 1))
            }
            Part::UpTo(high) if self.arguments && of_arguments => {
                (1, format!("islice(terms, {})", high.max(0)), format!(" of 1 to {high}"))
            }
            Part::Below(high) => (1, take(format!("< {high}")), format!(" below {high}")),
            Part::UpTo(high) => (1, take(format!("<= {high}")), format!(" up to {high}")),
        })
    }

    fn excess(&self, part: &Part) -> Option<String> {
        let count = match *part {
            Part::First(count) | Part::Nth(count) => count,
            Part::Between(low, high) if self.arguments || self.whole => high.abs_diff(low),
            _ => 0,
        };
        let high = match *part {
            Part::Below(high) | Part::UpTo(high) | Part::Between(_, high) => high,
            _ => 0,
        };
        let too_many = count > self.most || high > i64::try_from(self.high).unwrap_or(i64::MAX);
        too_many.then(|| {
            format!(
                "{} go up to {} terms and the value {}",
                self.label.replace(" of $base", ""),
                self.most,
                self.high
            )
        })
    }
}
