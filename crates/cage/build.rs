//! Builds the two embedded programs, pid 1 of a room and the entering code, with the rustc that builds the crate.
//! Neither uses libc, so that a room's init costs some 60 kB and nothing is compiled on a user's machine.

use std::{env, path::Path, process::Command};

const INIT: &[&str] =
    &["--crate-type=bin", "-Crelocation-model=static", "-Ctarget-feature=+crt-static", "-Clink-arg=-static"];

fn main() {
    let target = env::var("TARGET").expect("cargo sets TARGET");
    assert!(
        target.starts_with("x86_64-") && target.contains("linux"),
        "Reckon's rooms are written for x86-64 Linux; {target} is not supported yet"
    );
    println!("cargo::rerun-if-changed=enter/heap.rs");
    compile("init/main.rs", "reckon-init", INIT, &target);
    println!("cargo::rerun-if-env-changed=CARGO_FEATURE_SWITCHABLE_WALLS");
    if for_tests() {
        compile("init/main.rs", "reckon-init-open", &[INIT, &["--cfg=open_init"]].concat(), &target);
    }
    compile("enter/lib.rs", "reckon-enter.so", &["--crate-type=cdylib", "-Crelocation-model=pic"], &target);
}

/// Returns whether walls can be left out.
fn for_tests() -> bool {
    env::var_os("CARGO_FEATURE_SWITCHABLE_WALLS").is_some()
}

fn compile(source: &str, output: &str, kind: &[&str], target: &str) {
    println!("cargo::rerun-if-changed={source}");
    let directory = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let rustc = env::var("RUSTC").expect("cargo sets RUSTC");
    let mut command = Command::new(rustc);
    command.args(kind).args([
        "--edition=2024",
        "--crate-name=reckon_embedded",
        "-Cpanic=abort",
        "-Copt-level=s",
        "-Coverflow-checks=no",
        "-Cdebuginfo=0",
        "-Cstrip=symbols",
        "-Clto=fat",
        "-Clink-arg=-nostartfiles",
        "-Clink-arg=-nostdlib",
        "-Clink-arg=-Wl,--build-id=none",
        "-Clink-arg=-Wl,-z,noseparate-code",
    ]);
    if for_tests() {
        command.args(["--cfg", "switchable_walls"]);
    }
    // The user's linker of this target, where cargo was told of one.
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        command.arg(format!("-Clinker={linker}"));
    }
    command.args(["--target", target, source, "-o"]).arg(Path::new(&directory).join(output));
    let status = command.status().unwrap_or_else(|error| panic!("run rustc for {source}: {error}"));
    assert!(status.success(), "rustc could not build {source}: {status}");
}
