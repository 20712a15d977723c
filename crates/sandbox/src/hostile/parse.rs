//! How hostile programs are written: Python, with lines that begin with `#%` around it.
//!
//! `#% id: NAME` begins a program, further `#% KEY: VALUE` lines describe it (`says`, `walls`, `holds`, `contained`,
//! `escaped`, `needs`, `limits`, `read`), and the Python below them is what it runs. `#% neighbour` begins what a neighbour runs
//! before it. Several walls or lines are joined by ` + `, other lists by spaces.

use std::collections::BTreeMap;

use super::Program;
use crate::error::EngineError;

/// Returns the programs of one text.
pub(super) fn parse(category: &'static str, text: &str) -> Result<Vec<Program>, EngineError> {
    let mut programs: Vec<Program> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |problem: &str| {
            EngineError::Program(format!("hostile/programs/{category}.py, line {}: {problem}", index + 1))
        };
        let Some(note) = line.strip_prefix("#% ") else {
            if let Some(program) = programs.last_mut() {
                let part = program.neighbour.as_mut().unwrap_or(&mut program.code);
                part.push_str(line);
                part.push('\n');
            }
            continue;
        };
        if let Some(id) = note.strip_prefix("id: ") {
            programs.push(empty(id.trim(), category));
            continue;
        }
        let program = programs.last_mut().ok_or_else(|| wrong("a note before the first `id`"))?;
        if note.trim() == "neighbour" {
            program.neighbour = Some(String::new());
            continue;
        }
        let (key, value) = note.split_once(": ").ok_or_else(|| wrong("a note without a value"))?;
        let value = value.trim();
        match key {
            "says" => value.clone_into(&mut program.says),
            "walls" => program.walls = joined(value),
            "holds" => program.holds = joined(value),
            "contained" => program.contained = spaced(value),
            "escaped" => program.escaped = spaced(value),
            "needs" => program.needs = Some(value.to_owned()),
            "read" => program.read = Some(value.to_owned()),
            "limits" => program.limits = limits(value).ok_or_else(|| wrong("limits are NAME=NUMBER"))?,
            _ => return Err(wrong(&format!("unknown note `{key}`"))),
        }
    }
    Ok(programs)
}

fn empty(id: &str, category: &'static str) -> Program {
    Program {
        id: id.to_owned(),
        category,
        says: String::new(),
        walls: Vec::new(),
        holds: Vec::new(),
        contained: Vec::new(),
        escaped: Vec::new(),
        needs: None,
        limits: BTreeMap::new(),
        read: None,
        code: String::new(),
        neighbour: None,
    }
}

fn joined(value: &str) -> Vec<String> {
    value.split(" + ").map(|part| part.trim().to_owned()).collect()
}

fn spaced(value: &str) -> Vec<String> {
    value.split_whitespace().map(str::to_owned).collect()
}

fn limits(value: &str) -> Option<BTreeMap<String, u64>> {
    let one = |word: &str| {
        let (name, number) = word.split_once('=')?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    value.split_whitespace().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_notes_code_and_what_its_neighbour_does() {
        let text = "\"\"\"Head.\"\"\"\n\n#% id: one\n#% says: tries\n#% walls: a + b: c\n#% contained: EPERM timeout\n\
                    x = 1\n#% neighbour\ny = 2\n#% id: two\nz = 3\n";
        let programs = parse("proc", text).expect("well-formed");
        assert_eq!(programs.len(), 2);
        assert_eq!(programs[0].walls, ["a", "b: c"]);
        assert_eq!(programs[0].contained, ["EPERM", "timeout"]);
        assert_eq!(
            (programs[0].code.as_str(), programs[0].neighbour.as_deref()),
            ("x = 1\n", Some("y = 2\n"))
        );
        assert_eq!((programs[1].id.as_str(), programs[1].code.as_str()), ("two", "z = 3\n"));
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let error = parse("proc", "#% id: one\n#% wals: a\n").expect_err("refused").to_string();
        assert!(error.contains("programs/proc.py, line 2: unknown note `wals`"), "{error}");
    }
}
