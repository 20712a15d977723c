//! Reading the parameters of an intent out of a prompt. What is not read as one stays behind, and must be a known word.

use std::collections::BTreeSet;

use super::book::{Row, any_of, book, is_one_of};
use super::formula::{self, Formula};
use super::words::is_number;

/// The highest value up to which a sequence is listed.
const HIGHEST: i64 = 1_000_000;

/// The parameters of an intent.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// What replaces `$name` in the code, in this order.
    pub(super) values: Vec<(&'static str, String)>,
    /// The tokens that were read.
    pub(super) used: BTreeSet<usize>,
    /// Words that were understood besides.
    pub(super) words: String,
    /// Why the prompt asks for too much.
    pub(super) excess: Option<String>,
}

fn taken(values: Vec<(&'static str, String)>, used: impl IntoIterator<Item = usize>) -> Taken {
    Taken { values, used: used.into_iter().collect(), ..Taken::default() }
}

fn numbers(tokens: &[String]) -> Vec<usize> {
    (0..tokens.len()).filter(|at| is_number(&tokens[*at])).collect()
}

fn python_list<T: ToString>(values: &[T]) -> String {
    format!("[{}]", values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn span(formula: &Formula) -> std::ops::Range<usize> {
    formula.span.0..formula.span.1
}

/// Formulas in x, and two without for the range.
pub(super) fn curves(tokens: &[String]) -> Option<Taken> {
    let (mut curves, bounds): (Vec<_>, Vec<_>) =
        formula::find(tokens).into_iter().partition(|found| found.has_x);
    let used: Vec<usize> = curves.iter().chain(&bounds).flat_map(span).collect();
    // "f(x) = …" and "for x from …" name x without being a formula, unless there is no other.
    curves.sort_by_key(|curve| matches!(curve.python.as_str(), "x" | "(x)"));
    let formulas = curves.iter().filter(|curve| curve.computes).count().max(1);
    let pairs = curves
        .iter()
        .take(formulas)
        .map(|curve| format!("({:?}, {})", tokens[span(curve)].concat(), curve.python));
    let pairs = pairs.collect::<Vec<_>>().join(", ");
    let (low, high) = match bounds.as_slice() {
        [] => ("-10", "10"),
        [low, high] => (low.python.as_str(), high.python.as_str()),
        _ => return None,
    };
    let values = vec![("$curves", pairs.clone()), ("$low", low.to_owned()), ("$high", high.to_owned())];
    (!pairs.is_empty()).then(|| taken(values, used))
}

/// One attached table.
pub(super) fn file(files: &[String]) -> Option<Taken> {
    let is_table = |file: &&String| [".csv", ".tsv"].iter().any(|end| file.to_lowercase().ends_with(end));
    let tables: Vec<_> = files.iter().filter(is_table).collect();
    let [table] = tables.as_slice() else { return None };
    // A JSON string is a Python string too.
    Some(taken(vec![("$file", serde_json::Value::from(table.as_str()).to_string())], []))
}

/// How many months: a number of months, quarters or years, or a year.
pub(super) fn months(tokens: &[String]) -> Option<Taken> {
    let numbers = numbers(tokens);
    let months = match numbers.as_slice() {
        [] => 12,
        [at] => {
            let unit = tokens.get(at + 1)?;
            let size = [("month", 1), ("quarter", 3), ("year", 12)]
                .iter()
                .find(|(word, _)| is_one_of(unit, word))?
                .1;
            tokens[*at].parse::<u64>().ok()?.checked_mul(size)?
        }
        _ => return None,
    };
    let excess = (!(1..=120).contains(&months)).then(|| "sample sales go from 1 to 120 months".to_owned());
    Some(Taken { excess, ..taken(vec![("$months", months.to_string())], numbers) })
}

/// A list as Python, and its tokens: within brackets, else two or more numbers with only commas and "and" between.
fn list(tokens: &[String]) -> Option<(String, Vec<usize>)> {
    let at = |bracket: &str| tokens.iter().position(|token| token == bracket);
    let (range, least) = match (at("["), at("]"), numbers(tokens).as_slice()) {
        (Some(open), Some(close), _) if open < close => (open + 1..close, 1),
        (None, None, [first, .., last]) => (*first..last + 1, 2),
        _ => return None,
    };
    let clean = range
        .clone()
        .all(|at| is_number(&tokens[at]) || matches!(tokens[at].as_str(), "," | "and" | "by" | ";" | "&"));
    let values: Vec<&String> = tokens[range.clone()].iter().filter(|token| is_number(token)).collect();
    (clean && values.len() >= least).then(|| (python_list(&values), range.collect()))
}

/// One algorithm, a list or none, and what to look for in it.
pub(super) fn search(tokens: &[String], sample: &str) -> Option<Taken> {
    let (values, mut used) = list(tokens).unwrap_or_else(|| (sample.to_owned(), Vec::new()));
    let targets: Vec<usize> = numbers(tokens).into_iter().filter(|at| !used.contains(at)).collect();
    let wanted: Vec<&String> = targets.iter().map(|at| &tokens[*at]).collect();
    let named: Vec<&Row> = book().algorithm.iter().filter(|row| names(tokens, &row.words)).collect();
    // The last row is for no algorithm in particular; and several loose numbers are no list and no target.
    let [row, _] = named.as_slice() else { return None };
    if used.is_empty() && wanted.len() > 1 {
        return None;
    }
    // Without a target it looks for one in the middle, the first, and one that is not there.
    let usual = || "[values[len(values) // 2], values[0], max(values) + 1]".to_owned();
    let targets_python = if wanted.is_empty() { usual() } else { python_list(&wanted) };
    let function = row.code.trim().to_owned();
    let values = [
        ("$function", function),
        ("$prepare", row.prepare.clone()),
        ("$list", values),
        ("$targets", targets_python),
    ];
    used.extend(targets);
    Some(taken(values.to_vec(), used))
}

/// One algorithm or none, a list or none, and the direction.
pub(super) fn sort(tokens: &[String], sample: &str) -> Option<Taken> {
    let (values, used) = list(tokens).unwrap_or_else(|| (sample.to_owned(), Vec::new()));
    let named: Vec<&Row> = book().algorithm.iter().filter(|row| names(tokens, &row.words)).collect();
    let ([row] | [row, _]) = named.as_slice() else { return None };
    let place = |words| tokens.iter().position(|token| is_one_of(token, words));
    let falls = match (place("largest highest biggest"), place("smallest lowest")) {
        (Some(large), Some(small)) => large < small,
        _ => any_of(tokens, "descending reverse reversed decreasing"),
    };
    let (direction, slice) = if falls { (", descending", "[::-1]") } else { ("", "") };
    let function = row.code.trim().to_owned();
    let values = [
        ("$function", function),
        ("$list", values),
        ("$direction", direction.to_owned()),
        ("$slice", slice.to_owned()),
    ];
    Some(taken(values.to_vec(), used))
}

/// Whether every one of the words is there; "sorted" and "sorting" are forms of "sort".
fn names(tokens: &[String], words: &str) -> bool {
    words
        .split_whitespace()
        .all(|word| any_of(tokens, word) || (word == "sort" && any_of(tokens, "sorted sorting")))
}

/// All numbers of the prompt, each an integer within the bound.
pub(super) fn integers(tokens: &[String], most: u64) -> Option<Taken> {
    let numbers = numbers(tokens);
    let values: Vec<i128> = numbers.iter().map(|at| tokens[*at].parse().ok()).collect::<Option<_>>()?;
    let too_large = values.iter().any(|value| value.unsigned_abs() > u128::from(most));
    let excess = too_large.then(|| format!("this goes up to {most}"));
    (!values.is_empty())
        .then(|| Taken { excess, ..taken(vec![("$integers", python_list(&values))], numbers) })
}

/// A list, and what is wanted of it.
pub(super) fn statistics(tokens: &[String]) -> Option<Taken> {
    let (values, used) = list(tokens)?;
    let (aggregates, words) = aggregates(tokens);
    let values = vec![("$list", values), ("$aggregates", aggregates)];
    (!words.is_empty()).then(|| Taken { words, ..taken(values, used) })
}

/// The lines that print what is wanted of a list, and the words that wanted it.
fn aggregates(tokens: &[String]) -> (String, String) {
    let everything = &book().everything;
    let all = any_of(tokens, everything);
    let wanted = |row: &&Row| all || (any_of(tokens, &row.words) && !any_of(tokens, &row.unless));
    let rows: Vec<&Row> = book().aggregate.iter().filter(wanted).collect();
    let lines: Vec<String> =
        rows.iter().map(|row| format!("print(f\"{}: {{show({})}}\")", row.label, row.code)).collect();
    let words: Vec<&str> =
        rows.iter().map(|row| row.words.as_str()).chain(all.then_some(everything.as_str())).collect();
    (lines.join("\n"), words.join(" "))
}

/// One expression that holds every number of the prompt.
pub(super) fn expression(tokens: &[String]) -> Option<Taken> {
    let found = formula::find(tokens);
    let [only] = found.as_slice() else { return None };
    let label = tokens[span(only)].join(" ").replace("( ", "(").replace(" )", ")").replace(" !", "!");
    let values = vec![("$expression", only.python.clone()), ("$label", label)];
    (only.computes && !only.has_x).then(|| taken(values, span(only)))
}

/// One kind of sequence, which part of it, and what is wanted of that.
pub(super) fn sequence(tokens: &[String]) -> Option<Taken> {
    let kinds: Vec<&Row> = book().sequence.iter().filter(|row| any_of(tokens, &row.words)).collect();
    // "Prime numbers" are primes: the last row is for numbers of no other kind.
    let kind = match kinds.as_slice() {
        [kind] => kind,
        [kind, numbers] if numbers.label == "integers" => kind,
        _ => return None,
    };
    let place = tokens.iter().position(|token| is_one_of(token, &kind.words))?;
    let follows = |word: &str| tokens.get(place + 1).is_some_and(|token| token == word);
    let (aggregates, words) = aggregates(tokens);
    let object = tokens[place + 1..].iter().find(|token| !matches!(token.as_str(), "of" | "the"));
    if (follows("of") || follows("the")) && object.is_some_and(|object| is_one_of(object, &words)) {
        // "The square of the sum" is not the sum of the squares.
        return None;
    }
    let mut used = BTreeSet::new();
    let mut base = String::new();
    if kind.is("base") {
        base = tokens
            .get(place + 2)?
            .parse::<u32>()
            .ok()
            .filter(|base| *base > 0 && (follows("of") || follows("by")))?
            .to_string();
        used.extend([place + 1, place + 2]);
    }
    let (part, given) = part(tokens, &kind.words, &mut used)?;
    if given.iter().any(|number| *number < 0) && !kind.is("whole") {
        return None;
    }
    let of_values = any_of(tokens, "perfect") || (any_of(tokens, "number") && !follows("of"));
    let goes_in =
        kind.is("arguments") && !part.goes_in.is_empty() && !of_values && (follows("of") || !part.is("of"));
    let low = if given.len() == 2 && (goes_in || kind.is("whole")) { given[0] } else { 1 };
    let largest = given.last().copied().unwrap_or_default();
    let most = kind.most.unwrap_or(100_000);
    let counts = part.is("counts") || goes_in;
    let too_much = largest > HIGHEST || (counts && largest.unsigned_abs() > most);
    let label = format!("{}{}{}", kind.label, if goes_in { " of numbers" } else { "" }, part.label);
    let values = vec![
        ("$terms", kind.code.clone()),
        ("$slice", if goes_in { part.goes_in.clone() } else { part.code.clone() }),
        ("$label", label.clone()),
        ("$aggregates", aggregates),
        ("$low", low.to_string()),
        ("$base", base),
        ("$zero", i32::from(kind.is("zero")).to_string()),
        ("$1", given[0].to_string()),
        ("$2", largest.to_string()),
    ];
    let excess =
        too_much.then(|| format!("sequences of this kind go up to {most} terms and the value {HIGHEST}"));
    Some(Taken { values, used, words: format!("{words} {}", kind.words), excess })
}

/// Finds the one part of a sequence that is named, with its numbers; two of them are not understood.
fn part(tokens: &[String], kind: &str, used: &mut BTreeSet<usize>) -> Option<(&'static Row, Vec<i64>)> {
    let mut found = None;
    let mut at = 0;
    while at < tokens.len() {
        let rest = if used.contains(&at) { &[] } else { &tokens[at..] };
        let patterns =
            book().part.iter().flat_map(|row| row.words.split('|').map(move |pattern| (row, pattern)));
        let fits = patterns.filter_map(|(row, pattern)| Some((row, fit(pattern, rest, kind)?)));
        let Some((row, (length, numbers))) = fits.max_by_key(|(_, (length, _))| *length) else {
            at += 1;
            continue;
        };
        if found.replace((row, numbers)).is_some() {
            return None;
        }
        used.extend(at..at + length);
        at += length;
    }
    found
}

/// Matches a pattern of the book at the beginning of tokens; returns its length and its numbers.
fn fit(pattern: &str, tokens: &[String], kind: &str) -> Option<(usize, Vec<i64>)> {
    let mut numbers = Vec::new();
    let mut length = 0;
    for word in pattern.split(' ') {
        let token = tokens.get(length)?;
        let ordinal = ["st", "nd", "rd", "th"].iter().find_map(|ending| token.strip_suffix(ending));
        let fits = match word {
            "#" => token.parse().ok().map(|number| numbers.push(number)),
            "#th" => ordinal.and_then(|digits| digits.parse().ok()).map(|number| numbers.push(number)),
            "KIND" => is_one_of(token, kind).then_some(()),
            _ => (word == token).then_some(()),
        };
        fits?;
        length += 1;
    }
    Some((length, numbers))
}
