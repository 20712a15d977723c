//! The text format: what it accepts, what it refuses and where, and the lint of the default policy.

use reckon_cage::seccomp::policy::{Action, DEFAULT_TEXT, Verdict};
use reckon_cage::seccomp::{Architecture, Error, Policy, compile};

const HEAD: &str = "@default errno ENOSYS # a\n@foreign kill # b\n@x32 errno ENOSYS # c\n";

fn parse(rules: &str) -> Result<Policy, Error> {
    Policy::parse(&format!("{HEAD}{rules}"), Architecture::X86_64)
}

/// Asserts that the rules are refused at this place, lines counted after the head.
fn assert_refused(rules: &str, line: usize, column: usize, words: &str) {
    let Err(Error::Policy { line: found_line, column: found_column, problem }) = parse(rules) else {
        panic!("accepted: {rules}");
    };
    assert_eq!((found_line - 3, found_column), (line, column), "{rules}: {problem}");
    assert!(problem.contains(words), "{rules}: {problem}");
}

#[test]
fn mistakes_are_named_with_their_place() {
    assert_refused("raed allow # x", 1, 1, "unknown system call `raed`, the nearest known is `read`");
    assert_refused("read allow # x\nmemfd_creat allow # x", 2, 1, "`memfd_create`");
    assert_refused("read alow # x", 1, 6, "unknown action `alow`, the nearest known is `allow`");
    assert_refused("read errno EPREM # x", 1, 12, "unknown error `EPREM`, the nearest known is `EPERM`");
    assert_refused("read errno # x", 1, 11, "the line ends where the name of an error is wanted");
    assert_refused("read # x", 1, 5, "the line ends where an action is wanted");
    assert_refused("read allow", 1, 11, "no reason");
    assert_refused("read allow #  ", 1, 11, "no reason");
    assert_refused("read allow always # x", 1, 12, "`always` is one word too many");
    assert_refused("read allow if arg6 == 1 # x", 1, 15, "unknown argument `arg6`");
    assert_refused("read allow if arg0 = 1 # x", 1, 20, "unknown comparison `=`");
    assert_refused("read allow if arg0 & 0xf == 0x10 # x", 1, 29, "0x10 has bits outside 0xf");
    assert_refused("read allow if int0 == 0x100000000 # x", 1, 23, "bits outside 0xffffffff");
    assert_refused("read allow if arg0 == ten # x", 1, 23, "`ten` is not a 64-bit number");
    assert_refused("read allow if arg0 in 1, 2 # x", 1, 23, "`(` is wanted here, not `1`");
    assert_refused("read allow if arg0 in (1, 2 # x", 1, 28, "`)` is wanted here");
    assert_refused("read allow if arg0 in (1, 1) # x", 1, 27, "this value already");
    assert_refused("read allow if arg0 == 1 and # x", 1, 28, "the line ends where an argument is wanted");
    assert_refused("read allow # x\nread log # x", 2, 1, "other lines already");
    assert_refused("read allow # x\nread log if arg0 == 1 # x", 2, 1, "decided already");
    assert_refused("read log if arg0 == 1 # x\nread allow if arg0 == 1 # x", 2, 1, "a second rule");
    assert_refused("read else allow # x", 1, 1, "else needs a line");
    assert_refused(
        "read log if arg0 == 1 # x\nread else allow # x\nread else log # x",
        3,
        1,
        "a second else",
    );
    assert_refused(
        "read log if arg0 == 1 # x\nread else allow # x\nread log if arg0 == 2 # x",
        3,
        1,
        "must be its last",
    );
    assert_refused(
        "@defualt allow # x",
        1,
        1,
        "unknown directive `@defualt`, the nearest known is `@default`",
    );
    assert_refused("@x32 kill # x", 1, 1, "a second line for @x32");
}

#[test]
fn a_policy_must_say_what_happens_to_the_rest() {
    let error = Policy::parse("@default kill # x\n@foreign kill # x\n", Architecture::X86_64).unwrap_err();
    assert_eq!(error.to_string(), "seccomp policy, line 3, column 1: the policy has no line for @x32");
}

#[test]
fn calls_that_an_architecture_lacks_are_skipped_only_where_it_is_written() {
    let text = |rule: &str| format!("{HEAD}{rule}");
    let skipped = Policy::parse(&text("open? allow # x"), Architecture::Aarch64).unwrap();
    assert!(skipped.syscalls.is_empty());
    let Error::Policy { line, column, problem } =
        Policy::parse(&text("open allow # x"), Architecture::Aarch64).unwrap_err()
    else {
        panic!("another error");
    };
    assert_eq!((line, column, problem.as_str()), (4, 1, "Aarch64 has no system call open; write `open?`"));
    assert_refused("opne? allow # x", 1, 1, "the nearest known is `open`");
}

#[test]
fn what_is_checked_and_not_met_is_eperm_unless_said_otherwise() {
    let policy =
        parse("read allow if arg0 == 1 # x\nwrite allow if arg0 == 1 # x\nwrite else kill # x").unwrap();
    let otherwise = |number: u32| match &policy.syscalls[&number] {
        Verdict::Checked { otherwise, .. } => *otherwise,
        Verdict::Always(action) => *action,
    };
    assert_eq!((otherwise(0), otherwise(1)), (Action::Errno(1), Action::KillProcess));
}

/// The lines of the default policy that are rules: place, system call, rest.
fn rules() -> impl Iterator<Item = (usize, &'static str, &'static str)> {
    DEFAULT_TEXT.lines().enumerate().filter_map(|(index, line)| {
        let (name, rest) = line.split_once(' ')?;
        (!name.starts_with('#')).then_some((index, name, rest))
    })
}

#[test]
fn the_default_policy_is_grouped_and_sorted_by_name() {
    for group in DEFAULT_TEXT.split("\n## ").skip(1) {
        let (title, lines) = group.split_once('\n').unwrap();
        let names: Vec<_> = lines.lines().filter_map(|line| line.split([' ', '?']).next()).collect();
        let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
        assert!(names.is_sorted(), "group {title}: {names:?}");
    }
}

#[test]
fn every_line_of_the_default_policy_gives_a_reason() {
    let mut count = 0;
    for (index, name, rest) in rules() {
        let reason = rest.split_once('#').map_or("", |(_, reason)| reason.trim());
        assert!(reason.len() >= 4, "line {}: {name} has no reason", index + 1);
        count += 1;
    }
    assert!(count > 300, "{count} rules found");
}

/// A rule whose removal changes nothing is noise, except where it documents a refusal that is the default anyway.
#[test]
fn no_rule_of_the_default_policy_is_redundant() {
    let compiled =
        |text: &str, architecture| Policy::parse(text, architecture).map(|policy| compile(&policy).unwrap());
    let whole = Architecture::ALL.map(|architecture| compiled(DEFAULT_TEXT, architecture).unwrap());
    for (index, name, rest) in rules() {
        if rest.trim_start().starts_with("errno ENOSYS") {
            continue;
        }
        let text: String = DEFAULT_TEXT
            .lines()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .flat_map(|(_, line)| [line, "\n"])
            .collect();
        let needed = Architecture::ALL.iter().zip(&whole).any(|(&architecture, whole)| {
            compiled(&text, architecture).map_or(true, |without| without != *whole)
        });
        assert!(needed, "line {}: {name} {rest}", index + 1);
    }
}
