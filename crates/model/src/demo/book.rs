//! The embedded data file, and how the template of one of its intents is filled with what a prompt says.
//!
//! Only numbers, formulas of allowed tokens, the quoted path of a file and rows of the book ever get into code.

use std::{collections::BTreeMap, collections::BTreeSet, sync::OnceLock};

use serde::Deserialize;

use super::words::{self, is_number, is_one_of};

/// Something that the demo planner can do.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intent {
    /// A short name.
    pub name: String,
    /// What it does, as a sentence.
    pub description: String,
    /// A prompt that it answers.
    pub example: String,
    when: Vec<String>,
    unless: String,
    words: String,
    sample: Option<String>,
    code: String,
}

/// The data file; its comments say what the tables mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Book {
    fillers: String,
    phrases: Vec<(String, String)>,
    pub(super) numbers: BTreeMap<String, u64>,
    pub(super) functions: String,
    pub(super) constants: String,
    /// How something is said, and the Python that it stands for.
    table: BTreeMap<String, Vec<(String, String)>>,
    pub(super) intent: Vec<Intent>,
}

/// Returns the book; the tests read every entry of it.
pub(super) fn book() -> &'static Book {
    static BOOK: OnceLock<Book> = OnceLock::new();
    let text = include_str!("../../demo/intents.toml");
    BOOK.get_or_init(|| toml::from_str(text).expect("the embedded file is the one that the tests read"))
}

/// Returns an intent that accounts for every word of a prompt, and its filled template.
pub(super) fn plan(prompt: &str, files: &[&str]) -> Option<(&'static str, String)> {
    let mut text = format!(" {} ", prompt.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" "));
    for file in files {
        text = text.replace(&file.rsplit('/').next().unwrap_or(file).to_lowercase(), "file");
    }
    for (phrase, replacement) in &book().phrases {
        text = text.replace(phrase, replacement);
    }
    let tokens = words::tokens(&text);
    book().intent.iter().find_map(|intent| {
        let mut reading = Reading { tokens: &tokens, files, used: BTreeSet::new() };
        let called = !reading.says(&intent.unless) && intent.when.iter().all(|group| reading.says(group));
        let code = called.then(|| reading.fill(intent)).flatten()?;
        let known = |token| [&book().fillers, &intent.words].iter().any(|list| is_one_of(token, list));
        let clear = tokens.iter().enumerate().all(|(at, token)| reading.used.contains(&at) || known(token));
        clear.then_some((intent.name.as_str(), code))
    })
}

/// A prompt, and which of its tokens an intent has used so far.
struct Reading<'a> {
    tokens: &'a [String],
    files: &'a [&'a str],
    used: BTreeSet<usize>,
}

impl Reading<'_> {
    /// Whether one of the patterns is in the prompt; uses every place where it is.
    fn says(&mut self, say: &str) -> bool {
        let fits = (0..self.tokens.len()).filter_map(|at| Some(at..at + self.fit(say, at)?.0));
        let places: Vec<usize> = fits.flatten().collect();
        self.used.extend(&places);
        !places.is_empty()
    }

    /// Replaces each `$name` of the template, once, by the parameter of that name.
    fn fill(&mut self, intent: &Intent) -> Option<String> {
        let mut pieces = intent.code.trim().split('$');
        let mut code = pieces.next()?.to_owned();
        for piece in pieces {
            let end = piece.find(|end: char| !end.is_ascii_lowercase()).unwrap_or(piece.len());
            let (name, rest) = piece.split_at(end);
            code += &match name {
                "file" => self.file(),
                "list" => self.list(2).or_else(|| intent.sample.clone()),
                "numbers" => self.list(1),
                "formulas" | "curves" | "bounds" => self.formulas(name),
                table => self.rows(book().table.get(table)?, rest.chars().next()),
            }?;
            code += rest.trim_start_matches(['*', '+']);
        }
        Some(code)
    }

    /// The code of the rows that are named: exactly one; with `+` or `*` as many as in a regular expression.
    fn rows(&mut self, table: &[(String, String)], quantity: Option<char>) -> Option<String> {
        let (mut found, mut next) = (Vec::new(), 0);
        for at in 0..self.tokens.len() {
            let fits = table.iter().enumerate().filter_map(|row| Some((self.fit(&row.1.0, at)?, row)));
            let longest = fits.max_by_key(|((length, _), _)| *length).filter(|_| at >= next);
            let Some(((length, numbers), (place, (say, code)))) = longest else { continue };
            let fill = |code: String, (place, number)| code.replace(&format!("${}", place + 1), number);
            let code = numbers.into_iter().enumerate().fold(code.trim().to_owned(), fill);
            found.push((say.starts_with('~'), place, code));
            next = at + length;
            self.used.extend(at..next);
        }
        found.sort();
        found.dedup();
        found.truncate(found.iter().filter(|(weak, ..)| !weak).count().max(1));
        let usual = table.iter().filter(|(say, _)| say.is_empty() && found.is_empty()).map(|(_, code)| code);
        let codes: Vec<&str> = found.iter().map(|(.., code)| code).chain(usual).map(String::as_str).collect();
        let enough = quantity == Some('*') || codes.len() == 1 || (quantity == Some('+') && codes.len() > 1);
        enough.then(|| codes.join("\n"))
    }

    /// Fits the longest of the patterns to the tokens from `at` on; returns its length and its numbers.
    fn fit(&self, say: &str, at: usize) -> Option<(usize, Vec<&str>)> {
        let fits = say.split('|').filter_map(|pattern| {
            let length = pattern.split(' ').count();
            let tokens = self.tokens.get(at..at + length)?;
            // A number is a parameter of one thing only.
            let is = |((word, token), at): ((&str, &String), _)| match word {
                "#" => is_number(token) && !self.used.contains(&at),
                word => is_one_of(token, word),
            };
            let numbers = tokens.iter().map(String::as_str).filter(|token| is_number(token)).collect();
            pattern.split(' ').zip(tokens).zip(at..).all(is).then_some((length, numbers))
        });
        fits.max_by_key(|(length, _)| *length)
    }

    /// The one attached table.
    fn file(&self) -> Option<String> {
        let is_table = |file: &&&str| [".csv", ".tsv"].iter().any(|end| file.to_lowercase().ends_with(end));
        let tables: Vec<_> = self.files.iter().filter(is_table).collect();
        // A JSON string is a Python string too.
        (tables.len() == 1).then(|| serde_json::Value::from(*tables[0]).to_string())
    }

    /// Numbers in brackets, or `least` or more of them with nothing but commas and the like between.
    fn list(&mut self, least: usize) -> Option<String> {
        let place = |bracket: &str| self.tokens.iter().position(|token| token == bracket);
        let is_free = |at: &usize| is_number(&self.tokens[*at]) && !self.used.contains(at);
        let free: Vec<usize> = (0..self.tokens.len()).filter(is_free).collect();
        let (span, least) = match (place("["), place("]")) {
            (Some(open), Some(close)) => (open..close + 1, 1),
            _ => (*free.first()?..free.last()? + 1, least),
        };
        let tokens = self.tokens.get(span.clone())?.iter().map(String::as_str);
        let (numbers, between): (Vec<&str>, Vec<&str>) = tokens.partition(|token| is_number(token));
        let is_list = (least..=between.len() + 1).contains(&numbers.len())
            && between.iter().all(|token| is_one_of(token, "[ ] , ; & and by"))
            // After a comma it would be the rest of something else.
            && (span.contains(&place("[").unwrap_or(usize::MAX)) || span.start == 0 || !is_one_of(&self.tokens[span.start - 1], ", and"));
        self.used.extend(span.filter(|_| is_list));
        is_list.then(|| format!("[{}]", numbers.join(", ")))
    }

    /// Formulas with their labels, in x or not; or the two bounds, which may be lone numbers.
    fn formulas(&mut self, name: &str) -> Option<String> {
        let mut formulas = words::formulas(self.tokens);
        formulas.retain(|one| one.has_x == (name == "curves") && (one.computes || name == "bounds"));
        self.used.extend(formulas.iter().flat_map(|one| one.span.clone()));
        let pairs = formulas.iter().map(|one| format!("({:?}, {})", one.label, one.python));
        match (name, &formulas[..]) {
            ("bounds", []) => Some("-10, 10".to_owned()),
            ("bounds", [low, high]) => Some(format!("{}, {}", low.python, high.python)),
            ("bounds", _) | (_, []) => None,
            _ => Some(pairs.collect::<Vec<_>>().join(", ")),
        }
    }
}
