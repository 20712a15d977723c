//! The text of a policy, one rule per line with its reason; every mistake is named with its place.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::policy::{Action, Condition, Policy, Rule, Sense, Verdict, Width};
use super::{Architecture, Error};
use crate::nearest::nearest;

/// What a call that passes none of its checks gets when the policy has no `else` line for it.
const DEFAULT_OTHERWISE: Action = Action::Errno(libc::EPERM as u16);

/// The errors a policy may return; more are added when a rule needs them.
const ERRNOS: [(&str, i32); 12] = [
    ("EACCES", libc::EACCES),
    ("EAFNOSUPPORT", libc::EAFNOSUPPORT),
    ("EINVAL", libc::EINVAL),
    ("ENODEV", libc::ENODEV),
    ("ENOENT", libc::ENOENT),
    ("ENOPROTOOPT", libc::ENOPROTOOPT),
    ("ENOSYS", libc::ENOSYS),
    ("ENOTTY", libc::ENOTTY),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("EPERM", libc::EPERM),
    ("EPROTONOSUPPORT", libc::EPROTONOSUPPORT),
    ("ESRCH", libc::ESRCH),
];

const ACTIONS: [&str; 4] = ["allow", "errno", "kill", "log"];
const DIRECTIVES: [&str; 3] = ["@default", "@foreign", "@x32"];
const SUBJECTS: [&str; 12] =
    ["arg0", "arg1", "arg2", "arg3", "arg4", "arg5", "int0", "int1", "int2", "int3", "int4", "int5"];

pub(super) fn parse(text: &str, architecture: Architecture) -> Result<Policy, Error> {
    let mut draft = Draft::new(architecture);
    for (index, line) in text.lines().enumerate() {
        let mut words = Words::of(line, index + 1);
        if words.is_empty() {
            continue;
        }
        words.require_reason(line)?;
        draft.read_line(&mut words)?;
        words.require_end()?;
    }
    draft.finish(text)
}

/// A policy of which some lines are still unread.
struct Draft {
    architecture: Architecture,
    numbers: BTreeMap<&'static str, u32>,
    directives: BTreeMap<String, Action>,
    syscalls: BTreeMap<u32, Entries>,
}

/// The lines that name one system call.
enum Entries {
    Always(Action),
    Checked { rules: Vec<Rule>, otherwise: Option<Action> },
}

impl Draft {
    fn new(architecture: Architecture) -> Self {
        let numbers = architecture.syscalls().map(|(number, name)| (name, number)).collect();
        Self { architecture, numbers, directives: BTreeMap::new(), syscalls: BTreeMap::new() }
    }

    fn read_line(&mut self, words: &mut Words<'_>) -> Result<(), Error> {
        let name = words.next("a system call")?;
        if name.text.starts_with('@') {
            return self.read_directive(name, words);
        }
        let optional = words.take("?");
        let number = self.number(name, optional, words)?;
        let is_otherwise = words.take("else");
        let action = read_action(words)?;
        let conditions = if !is_otherwise && words.take("if") { read_conditions(words)? } else { Vec::new() };
        let Some(number) = number else { return Ok(()) };
        if is_otherwise {
            self.add_otherwise(number, action, name, words)
        } else if conditions.is_empty() {
            self.add_always(number, action, name, words)
        } else {
            self.add_rule(number, Rule { conditions, action }, name, words)
        }
    }

    fn read_directive(&mut self, name: Word<'_>, words: &mut Words<'_>) -> Result<(), Error> {
        if !DIRECTIVES.contains(&name.text) {
            return Err(words.unknown(name, "directive", DIRECTIVES));
        }
        let action = read_action(words)?;
        match self.directives.insert(name.text.to_owned(), action) {
            None => Ok(()),
            Some(_) => Err(words.error(name, format!("a second line for {}", name.text))),
        }
    }

    /// Returns the number of the named call, or none when this architecture may lack it and does.
    fn number(&self, name: Word<'_>, optional: bool, words: &Words<'_>) -> Result<Option<u32>, Error> {
        if let Some(number) = self.numbers.get(name.text) {
            return Ok(Some(*number));
        }
        let known_elsewhere = Architecture::ALL.iter().any(|other| other.number(name.text).is_some());
        if !known_elsewhere {
            return Err(words.unknown(name, "system call", self.numbers.keys().copied()));
        }
        if optional {
            return Ok(None);
        }
        let problem = format!("{:?} has no system call {1}; write `{1}?`", self.architecture, name.text);
        Err(words.error(name, problem))
    }

    fn add_always(
        &mut self,
        number: u32,
        action: Action,
        name: Word<'_>,
        words: &Words<'_>,
    ) -> Result<(), Error> {
        match self.syscalls.entry(number) {
            Entry::Vacant(vacant) => {
                vacant.insert(Entries::Always(action));
                Ok(())
            }
            Entry::Occupied(_) => Err(words.error(name, format!("{} has other lines already", name.text))),
        }
    }

    fn add_rule(&mut self, number: u32, rule: Rule, name: Word<'_>, words: &Words<'_>) -> Result<(), Error> {
        let fresh = Entries::Checked { rules: Vec::new(), otherwise: None };
        match self.syscalls.entry(number).or_insert(fresh) {
            Entries::Always(_) => {
                Err(words.error(name, format!("{} is decided already, without conditions", name.text)))
            }
            Entries::Checked { otherwise: Some(_), .. } => {
                Err(words.error(name, format!("the else line of {} must be its last", name.text)))
            }
            Entries::Checked { rules, .. }
                if rules.iter().any(|known| known.conditions == rule.conditions) =>
            {
                Err(words.error(name, format!("a second rule for {} with these conditions", name.text)))
            }
            Entries::Checked { rules, .. } => {
                rules.push(rule);
                Ok(())
            }
        }
    }

    fn add_otherwise(
        &mut self,
        number: u32,
        action: Action,
        name: Word<'_>,
        words: &Words<'_>,
    ) -> Result<(), Error> {
        match self.syscalls.get_mut(&number) {
            Some(Entries::Checked { otherwise: otherwise @ None, .. }) => {
                *otherwise = Some(action);
                Ok(())
            }
            Some(Entries::Checked { .. }) => {
                Err(words.error(name, format!("a second else line for {}", name.text)))
            }
            Some(Entries::Always(_)) | None => {
                Err(words.error(name, format!("else needs a line `{} … if …` before it", name.text)))
            }
        }
    }

    fn finish(self, text: &str) -> Result<Policy, Error> {
        let directive = |name: &str| {
            self.directives.get(name).copied().ok_or_else(|| Error::Policy {
                line: text.lines().count() + 1,
                column: 1,
                problem: format!("the policy has no line for {name}"),
            })
        };
        Ok(Policy {
            architecture: self.architecture,
            default: directive("@default")?,
            foreign: directive("@foreign")?,
            x32: directive("@x32")?,
            syscalls: self
                .syscalls
                .into_iter()
                .map(|(number, entries)| (number, entries.verdict()))
                .collect(),
        })
    }
}

impl Entries {
    fn verdict(self) -> Verdict {
        match self {
            Self::Always(action) => Verdict::Always(action),
            Self::Checked { rules, otherwise } => {
                Verdict::Checked { rules, otherwise: otherwise.unwrap_or(DEFAULT_OTHERWISE) }
            }
        }
    }
}

fn read_action(words: &mut Words<'_>) -> Result<Action, Error> {
    let word = words.next("an action")?;
    match word.text {
        "allow" => Ok(Action::Allow),
        "log" => Ok(Action::Log),
        "kill" => Ok(Action::KillProcess),
        "errno" => {
            let name = words.next("the name of an error")?;
            let known = ERRNOS.iter().find(|(known, _)| *known == name.text);
            let (_, number) =
                known.ok_or_else(|| words.unknown(name, "error", ERRNOS.map(|(known, _)| known)))?;
            Ok(Action::Errno(*number as u16))
        }
        _ => Err(words.unknown(word, "action", ACTIONS)),
    }
}

fn read_conditions(words: &mut Words<'_>) -> Result<Vec<Condition>, Error> {
    let mut conditions = vec![read_condition(words)?];
    while words.take("and") {
        conditions.push(read_condition(words)?);
    }
    Ok(conditions)
}

fn read_condition(words: &mut Words<'_>) -> Result<Condition, Error> {
    let subject = words.next("an argument")?;
    let Some(position) = SUBJECTS.iter().position(|known| *known == subject.text) else {
        return Err(words.unknown(subject, "argument", SUBJECTS));
    };
    let width = if position < 6 { Width::Full } else { Width::Low };
    let widest = if position < 6 { u64::MAX } else { u64::from(u32::MAX) };
    let mask = if words.take("&") { read_number(words, widest)? } else { widest };
    let operator = words.next("a comparison")?;
    let (sense, listed) = match operator.text {
        "==" => (Sense::OneOf, false),
        "!=" => (Sense::NoneOf, false),
        "in" => (Sense::OneOf, true),
        "not" => {
            words.expect("in")?;
            (Sense::NoneOf, true)
        }
        _ => return Err(words.unknown(operator, "comparison", ["==", "!=", "in", "not in"])),
    };
    let values = if listed { read_list(words, mask)? } else { vec![read_number(words, mask)?] };
    Ok(Condition { argument: (position % 6) as u8, width, mask, values, sense })
}

fn read_list(words: &mut Words<'_>, mask: u64) -> Result<Vec<u64>, Error> {
    words.expect("(")?;
    let mut values = vec![read_number(words, mask)?];
    while words.take(",") {
        let word = words.peek();
        let value = read_number(words, mask)?;
        if values.contains(&value) {
            return Err(words.error(word, "the list has this value already".to_owned()));
        }
        values.push(value);
    }
    words.expect(")")?;
    Ok(values)
}

/// Reads a decimal, `0x` or `0o` number that has no bits outside the mask, since it could never match.
fn read_number(words: &mut Words<'_>, mask: u64) -> Result<u64, Error> {
    let word = words.next("a number")?;
    let number = match (word.text.strip_prefix("0x"), word.text.strip_prefix("0o")) {
        (Some(digits), _) => u64::from_str_radix(digits, 16),
        (_, Some(digits)) => u64::from_str_radix(digits, 8),
        _ => word.text.parse(),
    };
    match number {
        Ok(number) if number & !mask == 0 => Ok(number),
        Ok(_) => Err(words.error(word, format!("{} has bits outside {mask:#x}", word.text))),
        Err(_) => Err(words.error(word, format!("`{}` is not a 64-bit number", word.text))),
    }
}

/// A word or a sign of a line, and the character at which it begins, counted from 1.
#[derive(Clone, Copy, Debug)]
struct Word<'a> {
    text: &'a str,
    column: usize,
}

/// The words of a line up to its reason.
struct Words<'a> {
    line: usize,
    split: Vec<Word<'a>>,
    next: usize,
    end: Word<'static>,
}

impl<'a> Words<'a> {
    fn of(line_text: &'a str, line: usize) -> Self {
        let rule = line_text.split_once('#').map_or(line_text, |(rule, _)| rule);
        let words = split(rule)
            .map(|(start, text)| Word { text, column: rule[..start].chars().count() + 1 })
            .collect();
        let end = Word { text: "", column: rule.trim_end().chars().count() + 1 };
        Self { line, split: words, next: 0, end }
    }

    fn is_empty(&self) -> bool {
        self.split.is_empty()
    }

    /// A rule without a reason cannot be reviewed.
    fn require_reason(&self, line_text: &str) -> Result<(), Error> {
        match line_text.split_once('#') {
            Some((_, reason)) if !reason.trim().is_empty() => Ok(()),
            _ => Err(self.error(self.end, "the rule has no reason; add `# why`".to_owned())),
        }
    }

    fn require_end(&self) -> Result<(), Error> {
        let word = self.peek();
        if word.text.is_empty() {
            return Ok(());
        }
        Err(self.error(word, format!("`{}` is one word too many", word.text)))
    }

    fn peek(&self) -> Word<'a> {
        self.split.get(self.next).copied().unwrap_or(self.end)
    }

    fn next(&mut self, wanted: &str) -> Result<Word<'a>, Error> {
        let word = self.peek();
        if word.text.is_empty() {
            return Err(self.error(word, format!("the line ends where {wanted} is wanted")));
        }
        self.next += 1;
        Ok(word)
    }

    /// Goes past the given word if it comes next.
    fn take(&mut self, text: &str) -> bool {
        let found = self.peek().text == text;
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, text: &str) -> Result<(), Error> {
        let word = self.peek();
        if self.take(text) {
            return Ok(());
        }
        Err(self.error(word, format!("`{text}` is wanted here, not `{}`", word.text)))
    }

    fn error(&self, word: Word<'_>, problem: String) -> Error {
        Error::Policy { line: self.line, column: word.column, problem }
    }

    fn unknown<'k>(&self, word: Word<'_>, kind: &str, known: impl IntoIterator<Item = &'k str>) -> Error {
        let nearest = nearest(word.text, known);
        self.error(word, format!("unknown {kind} `{}`, the nearest known is `{nearest}`", word.text))
    }
}

/// Splits a line into names, numbers and signs, each with the byte at which it begins.
fn split(rule: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut position = 0;
    std::iter::from_fn(move || {
        let rest = &rule[position..];
        let start = position + (rest.len() - rest.trim_start().len());
        let length = word_length(&rule[start..]);
        position = start + length;
        (length > 0).then(|| (start, &rule[start..position]))
    })
}

fn word_length(rest: &str) -> usize {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '@';
    let name = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    match name {
        0 if rest.starts_with("==") || rest.starts_with("!=") => 2,
        0 => rest.chars().next().map_or(0, char::len_utf8),
        length => length,
    }
}
