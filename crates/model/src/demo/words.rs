//! Cutting a prompt into lower-case words, numbers and symbols, and finding the formulas among them.

use std::ops::Range;

use super::book::book;

/// Whether a token is a number, such as `-2.5`.
pub(super) fn is_number(token: &str) -> bool {
    token.parse::<f64>().is_ok() && token.ends_with(|end: char| end.is_ascii_digit())
}

/// Whether a token is one of the words, or its plural.
pub(super) fn is_one_of(token: &str, words: &str) -> bool {
    let stem = token.strip_suffix('s').unwrap_or(token);
    let stems = [token, stem, stem.strip_suffix('e').unwrap_or(stem)];
    words.split_whitespace().any(|word| stems.contains(&word))
}

/// Cuts a text that the phrases of the book were already applied to.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let (before, rest) = text.split_at(at);
        let token = match first {
            '0'..='9' => number(rest, before.rfind('[') > before.rfind(']')),
            _ if first.is_alphabetic() => rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(rest),
            _ => &rest[..first.len_utf8()],
        };
        at += token.len();
        let last = tokens.last().map_or("", String::as_str);
        let mut word = token.replace(',', if first == ',' { "," } else { "" });
        let joins = before.ends_with(char::is_alphabetic) && text[at..].starts_with(char::is_alphabetic);
        if first.is_whitespace() || (first == '-' && joins && (is_number(last) || !is_operand(last))) {
            continue;
        }
        if let Some(value) = book().numbers.get(token) {
            let combined = last.parse().ok().and_then(|before: u64| match value {
                100.. => before.checked_mul(*value),
                1..10 if (20..100).contains(&before) && before.is_multiple_of(10) => Some(before + value),
                _ => None,
            });
            tokens.truncate(tokens.len() - usize::from(combined.is_some()));
            word = combined.unwrap_or(*value).to_string();
        }
        // A minus sign belongs to the number that it touches, but not between operands.
        let operand = tokens.iter().nth_back(1).is_some_and(|token| is_operand(token) || token == ")");
        if first.is_ascii_digit() && before.ends_with('-') && !operand {
            word.insert_str(0, &tokens.pop().unwrap_or_default());
        }
        tokens.push(word);
    }
    tokens
}

/// Returns the number that a text begins with: `1,000` is a thousand, but within brackets a comma separates.
fn number(text: &str, in_list: bool) -> &str {
    let end = text.find(|end: char| !end.is_ascii_digit() && !matches!(end, ',' | '.')).unwrap_or(text.len());
    let number = text[..end].trim_end_matches([',', '.']);
    let (first, groups) = number.split_once(',').unwrap_or((number, "000"));
    let mut groups = groups.split(',').map(|group| group.split('.').next().map_or(0, str::len));
    let grouped = (first.len() <= 3 || first == number) && groups.all(|length| length == 3);
    if grouped && !in_list { number } else { first }
}

/// A formula, and the tokens that it stands for.
pub(super) struct Formula {
    pub(super) span: Range<usize>,
    pub(super) label: String,
    pub(super) python: String,
    pub(super) has_x: bool,
    /// Whether there is something to compute, rather than a lone number or x.
    pub(super) computes: bool,
}

/// Finds the longest formulas: runs of allowed tokens. Whether they are well-formed is for Python to say.
pub(super) fn formulas(tokens: &[String]) -> Vec<Formula> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < tokens.len() {
        let mut depth = 0;
        let belongs = |token: &&String| {
            depth += i32::from(*token == "(") - i32::from(*token == ")");
            let inside = depth > 0 || (depth == 0 && *token == ")");
            let symbols = if inside { "+ - * / % ^ ! ( ) ," } else { "+ - * / % ^ !" };
            is_operand(token) || is_function(token) || is_one_of(token, symbols)
        };
        let span = start..start + tokens[start..].iter().take_while(belongs).count();
        start = span.end.max(start + 1);
        let run = &tokens[span.clone()];
        found.extend(read(run).map(|python| Formula {
            span,
            label: run.concat(),
            python,
            has_x: run.iter().any(|token| token == "x"),
            computes: run.iter().filter(|token| !is_one_of(token, "( )")).count() > 1,
        }));
    }
    found
}

fn is_operand(token: &str) -> bool {
    is_number(token) || token == "x" || book().constants.split(' ').any(|constant| constant == token)
}

fn is_function(token: &str) -> bool {
    book().functions.split(' ').any(|function| function == token)
}

/// Puts a run of tokens down as Python, with what people leave out: `2x`, `3 sin(x)`, `sqrt 2`, `5!`.
fn read(run: &[String]) -> Option<String> {
    let mut python = String::new();
    let (mut before, mut bare) = ("", false);
    for token in run.iter().map(String::as_str) {
        let after_value = is_operand(before) || matches!(before, ")" | "!");
        if after_value && (is_operand(token) || is_function(token) || token == "(") {
            // Neither "3 4" nor "sin 2x" says clearly what is meant.
            python += if is_number(token) || bare { return None } else { " * " };
        }
        let argument = is_function(before) && token != "(";
        let piece = match token {
            _ if argument => is_operand(token).then(|| format!("({token})"))?,
            "!" => {
                let digits = before.trim_start_matches('-');
                python.truncate(python.strip_suffix(digits).filter(|_| is_number(before))?.len());
                format!("factorial({digits})")
            }
            "^" => " ** ".to_owned(),
            _ if after_value && is_one_of(token, "+ - * / %") => format!(" {token} "),
            "," => ", ".to_owned(),
            _ => token.to_owned(),
        };
        python += &piece;
        (before, bare) = (token, argument);
    }
    (is_operand(before) || matches!(before, ")" | "!")).then_some(python)
}
