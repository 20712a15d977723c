//! `reckon` without an answer: configuration, doctor, `exec` and what it leaves behind.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::Stdio,
    time::{Duration, Instant},
};

use reckon_e2e::binary::{Place, Ran, assert_gone, descendants, signal};

#[test]
fn the_version_and_the_help_are_data() {
    let place = Place::new();
    let version = place.run(&["--version"]);
    assert_eq!(
        (version.code, version.stdout.as_str()),
        (Some(0), concat!("reckon ", env!("CARGO_PKG_VERSION"), "\n"))
    );
    let help = place.run(&["--help"]);
    assert!(help.stdout.contains("exec") && !help.stdout.contains("warden"), "{}", help.stdout);
    assert_eq!(place.run(&["no-such-command"]).code, Some(2));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Place::new().run(&["completions", shell]);
        assert!(script.code == Some(0) && script.stdout.contains("doctor"), "{shell}: {script:?}");
    }
}

#[test]
fn init_writes_a_file_that_config_show_reads() {
    let place = Place::new();
    assert_eq!(place.run(&["init"]).code, Some(0));
    let written = fs::read_to_string(place.path("reckon.toml")).expect("written");
    for section in ["[model]", "[image]", "[sandbox]", "[server]"] {
        assert!(written.contains(section), "{section}");
    }
    let again = place.run(&["init"]);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("hint: --force"), "{}", again.stderr);

    fs::write(place.path("reckon.toml"), written.replace("#pids = 256", "pids = 77")).expect("written");
    let mut show = place.reckon(&["config", "show", "--json", "--memory", "300m"]);
    show.env("RECKON_SANDBOX_TIMEOUT", "7s").env("RECKON_MODEL_API_KEY", "sk-secret");
    let shown = Ran::of(show.output().expect("runs"));
    assert!(!shown.stdout.contains("sk-secret"));
    let values = &shown.json()["values"];
    let of =
        |path: &str| (values[path]["value"].to_string(), values[path]["source"].as_str().map(str::to_owned));
    assert_eq!(of("sandbox.memory"), ("\"300m\"".into(), Some("flag --memory".into())));
    assert_eq!(of("sandbox.timeout"), ("\"7s\"".into(), Some("environment RECKON_SANDBOX_TIMEOUT".into())));
    let (pids, source) = of("sandbox.pids");
    assert!(pids == "77" && source.is_some_and(|source| source.starts_with("reckon.toml:")), "{values}");
    assert_eq!(of("sandbox.open_files").1.as_deref(), Some("default"));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_one() {
    let place = Place::new();
    fs::write(place.path("reckon.toml"), "[sandbox]\nmemroy = \"1g\"\n").expect("written");
    let ran = place.run(&["exec", "-c", "1"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("reckon.toml:2:") && ran.stderr.contains("`memory`"), "{}", ran.stderr);
}

#[test]
fn the_doctor_lists_what_it_looked_at() {
    let report = Place::new().run(&["doctor", "--json", "--model", "demo"]);
    let can_run = report.json()["can_run"].as_bool().expect("a verdict");
    assert_eq!(report.code, Some(if can_run { 0 } else { 2 }));
    let json = report.json();
    let checks = json["checks"].as_array().expect("checks");
    for name in ["image", "data directory", "model"] {
        let check = checks.iter().find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("no check of {name}"));
        assert!(["works", "degraded", "missing"].iter().any(|state| check["state"] == *state), "{check}");
    }
    for check in checks.iter().filter(|check| check["state"] == "missing") {
        assert!(!check["detail"].as_str().unwrap_or_default().is_empty(), "{check}");
    }
}

#[test]
fn the_self_test_runs_hostile_programs_and_nothing_escapes() {
    let Some(place) = Place::for_code("the_self_test_runs_hostile_programs_and_nothing_escapes") else {
        return;
    };
    // All categories are run by the tests of the sandbox, on the same kernel.
    let categories = ["control", "proc", "syscalls", "siblings"];
    let chosen = categories.iter().flat_map(|category| ["--category", category]);
    let arguments: Vec<_> = ["doctor", "--self-test", "--json"].into_iter().chain(chosen).collect();
    let ran = place.run(&arguments);
    let report = ran.json();
    let programs = report["programs"].as_array().expect("programs");
    let loose: Vec<_> = programs.iter().filter(|program| program["verdict"] == "escaped").collect();
    assert!(loose.is_empty(), "{loose:#?}");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let total = &report["total"];
    assert_eq!(total["tried"].as_u64(), Some(programs.len() as u64));
    assert!(total["contained"].as_u64() >= Some(130), "{total}");
    let table = place.run(&["doctor", "--self-test", "--category", "capabilities"]);
    assert!(
        table.stdout.contains("\ncapabilities       18         18        0              0\n"),
        "{table:?}"
    );
    let unknown = place.run(&["doctor", "--self-test", "--category", "porc"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("proc"), "{unknown:?}");
}

#[test]
fn exec_keeps_the_streams_apart_and_prints_the_value() {
    let Some(place) = Place::for_code("exec_keeps_the_streams_apart_and_prints_the_value") else { return };
    let ran = place.run(&["exec", "-c", "import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "out\n42\n"));
    assert_eq!(ran.stderr, "err\n");
}

#[test]
fn exec_reads_code_from_a_file_and_from_stdin() {
    let Some(place) = Place::for_code("exec_reads_code_from_a_file_and_from_stdin") else { return };
    fs::write(place.path("code.py"), "print('file')").expect("written");
    assert_eq!(place.run(&["exec", "code.py"]).stdout, "file\n");
    for arguments in [&["exec", "-"][..], &["exec"]] {
        let mut child =
            place.reckon(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        child.stdin.take().expect("piped").write_all(b"print('stdin')").expect("written");
        assert_eq!(Ran::of(child.wait_with_output().expect("ends")).stdout, "stdin\n", "{arguments:?}");
    }
}

#[test]
fn code_that_fails_is_exit_code_1_with_its_traceback() {
    let Some(place) = Place::for_code("code_that_fails_is_exit_code_1_with_its_traceback") else { return };
    for (code, name) in [
        ("print('before')\n1 / 0", "ZeroDivisionError"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
    ] {
        let ran = place.run(&["exec", "-c", code]);
        assert_eq!(ran.code, Some(1), "{code}: {ran:?}");
        assert!(ran.stderr.contains(name), "{code}: {ran:?}");
        assert!(!ran.stdout.contains(name), "{code}: {ran:?}");
    }
    let dead = place.run(&["exec", "-c", "import os; os._exit(0)"]);
    assert_eq!(dead.code, Some(1), "{dead:?}");
    assert!(dead.stderr.contains("the interpreter ended"), "{dead:?}");
}

#[test]
fn exec_as_json_is_the_outcome() {
    let Some(place) = Place::for_code("exec_as_json_is_the_outcome") else { return };
    let outcome = place.run(&["exec", "--json", "-c", "print('x')\n[1, 2]"]).json();
    assert_eq!(outcome["status"], "ok");
    assert_eq!(outcome["stdout"], "x\n");
    assert_eq!(outcome["results"][0]["text/plain"], "[1, 2]");

    let failed = place.run(&["exec", "--json", "-c", "{}['k']"]);
    assert_eq!(failed.code, Some(1));
    assert_eq!(failed.json()["error"]["name"], "KeyError");
}

#[test]
fn events_are_numbered_lines() {
    let Some(place) = Place::for_code("events_are_numbered_lines") else { return };
    let ran = place.run(&["exec", "--events", "-c", "print('a')\n1"]);
    let events: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is an event")).collect();
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], index);
    }
    let types: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(types.first(), Some(&"started"), "{types:?}");
    assert_eq!(types.last(), Some(&"finished"), "{types:?}");
    assert!(types.contains(&"stdout") && types.contains(&"result"), "{types:?}");
}

#[test]
fn a_timeout_ends_the_code_in_time() {
    let Some(place) = Place::for_code("a_timeout_ends_the_code_in_time") else { return };
    let started = Instant::now();
    let ran = place.run(&["exec", "--timeout", "1s", "-c", "print('on', flush=True)\nwhile True: pass"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), "on\n"));
    assert!(ran.stderr.contains("the time was up"), "{}", ran.stderr);
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn large_output_arrives_whole_and_in_order_and_a_flood_is_cut() {
    let Some(place) = Place::for_code("large_output_arrives_whole_and_in_order_and_a_flood_is_cut") else {
        return;
    };
    let ran = place.run(&["exec", "-c", "for n in range(200000): print(n)"]);
    assert_eq!(ran.stdout.lines().count(), 200_000);
    for (index, line) in ran.stdout.lines().enumerate() {
        assert_eq!(line, index.to_string());
    }

    let mut flood = place.reckon(&["exec", "--json", "-c", "print('x' * 3_000_000)\nprint('end')"]);
    let flood = Ran::of(flood.env("RECKON_SANDBOX_OUTPUT", "1m").output().expect("runs")).json();
    assert_eq!(flood["status"], "ok");
    assert!(flood["stdout"].as_str().is_some_and(|text| text.len() <= 1 << 20), "cut at the limit");
    assert!(
        flood["limits_hit"].as_array().is_some_and(|hits| hits.contains(&"output".into())),
        "{}",
        flood["limits_hit"]
    );
}

#[test]
fn files_go_in_and_come_out_and_nothing_is_overwritten() {
    let Some(place) = Place::for_code("files_go_in_and_come_out_and_nothing_is_overwritten") else { return };
    fs::write(place.path("in.txt"), "2 3").expect("written");
    let code = "a, b = map(int, open('in.txt').read().split())\nopen('sum.txt', 'w').write(str(a + b))\nopen('.hidden', 'w').write('x')\nNone";
    for name in ["sum.txt", "sum-1.txt"] {
        let ran = place.run(&["exec", "-f", "in.txt", "-c", code]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stderr.contains(&format!("saved reckon-out/{name}")), "{}", ran.stderr);
        assert_eq!(fs::read_to_string(place.path(&format!("reckon-out/{name}"))).expect("saved"), "5");
    }
    let mut names: Vec<_> = fs::read_dir(place.path("reckon-out"))
        .expect("made")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["sum-1.txt", "sum.txt"], "what was attached and what is hidden stays");
}

#[test]
fn a_plot_is_saved_as_a_png() {
    let Some(place) = Place::for_code("a_plot_is_saved_as_a_png") else { return };
    let ran = place.run(&[
        "exec",
        "--out",
        "plots",
        "-c",
        "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let png = fs::read(place.path("plots/plot.png")).expect("saved");
    assert!(png.starts_with(b"\x89PNG") && png.len() > 1000, "{} bytes", png.len());
}

#[test]
fn ctrl_c_interrupts_the_code_and_leaves_nothing() {
    let Some(place) = Place::for_code("ctrl_c_interrupts_the_code_and_leaves_nothing") else { return };
    let code = "import time\ntry:\n    print('on', flush=True)\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    print('caught')\n    raise";
    let mut child = place
        .reckon(&["exec", "-c", code])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("read");
    assert_eq!(line, "on\n");
    let below = descendants(child.id());
    assert!(!below.is_empty(), "the code runs in processes of its own");

    signal(&child, "INT");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("read");
    let ran = Ran::of(child.wait_with_output().expect("ends"));
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(
        rest.ends_with("caught\n") && ran.stderr.contains("KeyboardInterrupt"),
        "{rest:?} {}",
        ran.stderr
    );
    assert_gone(&below);
}

#[test]
fn a_killed_command_leaves_no_process() {
    let Some(place) = Place::for_code("a_killed_command_leaves_no_process") else { return };
    let code = "import subprocess, time\nsubprocess.Popen(['sleep', '600'])\nprint('on', flush=True)\ntime.sleep(600)";
    let mut child = place.reckon(&["exec", "-c", code]).stdout(Stdio::piped()).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("read");
    assert_eq!(line, "on\n");
    let below = descendants(child.id());
    child.kill().expect("killed");
    child.wait().expect("ends");
    assert_gone(&below);

    // What it left on disk is swept by the next command.
    assert_eq!(place.run(&["exec", "-c", "1"]).code, Some(0));
    // Root's commands work beside the directory that root's server gives away.
    let is_root = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("stat")) == 0;
    let commands = if is_root { "data/reckon-one-shot" } else { "data/reckon/one-shot" };
    let left: Vec<_> = fs::read_dir(place.path(commands))
        .expect("made")
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_closed_reader_is_no_error() {
    let Some(place) = Place::for_code("a_closed_reader_is_no_error") else { return };
    let mut child = place
        .reckon(&["exec", "-c", "while True: print('y' * 1000)"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut first = [0; 1000];
    child.stdout.take().expect("piped").read_exact(&mut first).expect("read");
    let ran = Ran::of(child.wait_with_output().expect("ends"));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_weaker_tier_is_announced() {
    let ran = Place::new().run(&["exec", "--isolation", "process", "-c", "1 + 1"]);
    assert!(ran.stderr.contains("warning: isolation `process`"), "{ran:?}");
}
