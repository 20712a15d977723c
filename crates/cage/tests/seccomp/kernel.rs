//! The default policy in the real kernel: what is refused there, and that honest programs notice nothing.
//!
//! Loading a filter needs `unsafe`, so a Python process loads it and answers from inside.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use reckon_cage::seccomp::policy::default_policy;
use reckon_cage::seccomp::{Architecture, compile};
use reckon_e2e::skip;

const SCRIPT: &str = include_str!("inside.py");

/// Runs the script under the default policy in a directory of its own; none if this host cannot.
pub(crate) fn inside(mode: &str, input: &str) -> Option<Output> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("inside.py"), SCRIPT).unwrap();
    fs::write(directory.path().join("program"), compile(&default_policy()).unwrap().as_bytes()).unwrap();
    let spawned = Command::new("python3")
        .args(["inside.py", "program", mode])
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut python = match spawned {
        Ok(python) => python,
        Err(error) => {
            skip("tool", &format!("seccomp {mode}"), &format!("python3 cannot be started: {error}"));
            return None;
        }
    };
    python.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("loaded in"), "the filter was not loaded: {errors}");
    Some(output)
}

/// Calls with arguments that do no harm even where they are carried out, and what they must return.
#[rustfmt::skip]
pub(crate) const REFUSED: &[(&str, &[u64], &str)] = &[
    ("acct", &[0], "EPERM"),
    ("add_key", &[0, 0, 0, 0, 0], "EPERM"),
    ("adjtimex", &[0], "EPERM"),
    ("arch_prctl", &[0x5001, 0], "EINVAL"),
    ("bpf", &[0, 0, 0], "EPERM"),
    ("chroot", &[0], "EPERM"),
    ("clock_adjtime", &[0, 0], "EPERM"),
    ("clock_settime", &[0, 0], "EPERM"),
    ("clone", &[0x0002_0000, 0, 0, 0, 0], "EPERM"),
    ("clone", &[0x0200_0000, 0, 0, 0, 0], "EPERM"),
    ("clone", &[0x0400_0000, 0, 0, 0, 0], "EPERM"),
    ("clone", &[0x0800_0000, 0, 0, 0, 0], "EPERM"),
    ("clone", &[0x1000_0000, 0, 0, 0, 0], "EPERM"),
    ("clone", &[0x2000_0000, 0, 0, 0, 0], "EPERM"),
    ("clone", &[0x4000_0000, 0, 0, 0, 0], "EPERM"),
    ("clone", &[0x0000_8011, 0, 0, 0, 0], "EPERM"),
    ("clone3", &[0, 0], "ENOSYS"),
    ("delete_module", &[0, 0], "EPERM"),
    ("fanotify_init", &[0, 0], "EPERM"),
    ("fanotify_mark", &[0, 0, 0, 0, 0], "EPERM"),
    ("fcntl", &[1, 1024, 0], "EINVAL"),
    ("fcntl", &[1, 1026, 0], "EINVAL"),
    ("finit_module", &[0, 0, 0], "EPERM"),
    ("fsconfig", &[0, 0, 0, 0, 0], "ENOSYS"),
    ("fsmount", &[0, 0, 0], "ENOSYS"),
    ("fsopen", &[0, 0], "ENOSYS"),
    ("fspick", &[0, 0, 0], "ENOSYS"),
    ("futex", &[0, 3, 0, 0, 0, 0], "ENOSYS"),
    ("futex", &[0, 4, 0, 0, 0, 0], "ENOSYS"),
    ("futex", &[0, 0x86, 0, 0, 0, 0], "ENOSYS"),
    ("futex", &[0, 0x10b, 0, 0, 0, 0], "ENOSYS"),
    ("futex", &[0, 12, 0, 0, 0, 0], "ENOSYS"),
    ("futex_wait", &[0, 0, 0, 0, 0, 0], "ENOSYS"),
    ("futex_wake", &[0, 0, 0, 0], "ENOSYS"),
    ("futex_requeue", &[0, 0, 0, 0], "ENOSYS"),
    ("futex_waitv", &[0, 0, 0, 0, 0], "ENOSYS"),
    ("get_mempolicy", &[0, 0, 0, 0, 0], "EPERM"),
    ("get_robust_list", &[0, 0, 0], "EPERM"),
    ("init_module", &[0, 0, 0], "EPERM"),
    ("io_cancel", &[0, 0, 0], "ENOSYS"),
    ("io_destroy", &[0], "ENOSYS"),
    ("io_getevents", &[0, 0, 0, 0, 0], "ENOSYS"),
    ("io_pgetevents", &[0, 0, 0, 0, 0, 0], "ENOSYS"),
    ("io_submit", &[0, 0, 0], "ENOSYS"),
    ("io_setup", &[0, 0], "ENOSYS"),
    ("io_uring_enter", &[0, 0, 0, 0, 0, 0], "ENOSYS"),
    ("io_uring_register", &[0, 0, 0, 0], "ENOSYS"),
    ("io_uring_setup", &[0, 0], "ENOSYS"),
    ("ioctl", &[0, 0x5412, 0], "EPERM"),
    ("ioctl", &[0, 0x1_0000_5412, 0], "EPERM"),
    ("ioctl", &[0, 0x541c, 0], "EPERM"),
    ("ioctl", &[0, 0x5000_940e, 0], "ENOTTY"),
    ("ioperm", &[0, 0, 0], "EPERM"),
    ("iopl", &[0], "EPERM"),
    ("kcmp", &[0, 0, 0, 0, 0], "EPERM"),
    ("kexec_file_load", &[0, 0, 0, 0, 0], "EPERM"),
    ("kexec_load", &[0, 0, 0, 0], "EPERM"),
    ("keyctl", &[0, 0, 0, 0, 0], "EPERM"),
    ("listmount", &[0, 0, 0, 0], "ENOSYS"),
    ("lookup_dcookie", &[0, 0, 0], "EPERM"),
    ("mbind", &[0, 0, 0, 0, 0, 0], "EPERM"),
    ("memfd_secret", &[0], "ENOSYS"),
    ("migrate_pages", &[0, 0, 0, 0], "EPERM"),
    ("mknod", &[0, 0o020_000, 0], "EPERM"),
    ("mknod", &[0, 0o060_000, 0], "EPERM"),
    ("mknodat", &[0, 0, 0o020_666, 0], "EPERM"),
    ("mknodat", &[0, 0, 0o060_666, 0], "EPERM"),
    ("modify_ldt", &[0, 0, 0], "EPERM"),
    ("mount", &[0, 0, 0, 0, 0], "EPERM"),
    ("mount_setattr", &[0, 0, 0, 0, 0], "ENOSYS"),
    ("move_mount", &[0, 0, 0, 0, 0], "ENOSYS"),
    ("move_pages", &[0, 0, 0, 0, 0, 0], "EPERM"),
    ("mq_open", &[0, 0, 0, 0], "ENOSYS"),
    ("mq_getsetattr", &[u64::MAX, 0, 0], "ENOSYS"),
    ("mq_notify", &[u64::MAX, 0], "ENOSYS"),
    ("mq_timedreceive", &[u64::MAX, 0, 0, 0, 0], "ENOSYS"),
    ("mq_timedsend", &[u64::MAX, 0, 0, 0, 0], "ENOSYS"),
    ("mq_unlink", &[0], "ENOSYS"),
    ("msgctl", &[u64::MAX, 2, 0], "ENOSYS"),
    ("msgrcv", &[u64::MAX, 0, 0, 0, 0], "ENOSYS"),
    ("msgsnd", &[u64::MAX, 0, 0, 0], "ENOSYS"),
    ("msgget", &[0, 0], "ENOSYS"),
    ("name_to_handle_at", &[0, 0, 0, 0, 0], "EPERM"),
    ("open_by_handle_at", &[0, 0, 0], "EPERM"),
    ("open_tree", &[0, 0, 0], "ENOSYS"),
    ("open_tree_attr", &[0, 0, 0, 0, 0], "ENOSYS"),
    ("perf_event_open", &[0, 0, 0, 0, 0], "EPERM"),
    ("personality", &[0x0004_0000], "EPERM"),
    ("pidfd_getfd", &[0, 0, 0], "EPERM"),
    ("pivot_root", &[0, 0], "EPERM"),
    ("prctl", &[35, 0, 0, 0, 0], "EINVAL"),
    ("prctl", &[59, 0, 0, 0, 0], "EINVAL"),
    ("prlimit64", &[1, 7, 1, 0], "EPERM"),
    ("process_madvise", &[0, 0, 0, 0, 0], "EPERM"),
    ("process_mrelease", &[0, 0], "EPERM"),
    ("process_vm_readv", &[0, 0, 0, 0, 0, 0], "EPERM"),
    ("process_vm_writev", &[0, 0, 0, 0, 0, 0], "EPERM"),
    ("ptrace", &[0, 0, 0, 0], "EPERM"),
    ("quotactl", &[0, 0, 0, 0], "EPERM"),
    ("quotactl_fd", &[0, 0, 0, 0], "EPERM"),
    ("reboot", &[0, 0, 0, 0], "EPERM"),
    ("remap_file_pages", &[0, 0, 0, 0, 0], "ENOSYS"),
    ("request_key", &[0, 0, 0, 0], "EPERM"),
    ("seccomp", &[0, 0, 0], "EINVAL"),
    ("seccomp", &[1, 8, 0], "EINVAL"),
    ("set_mempolicy", &[0, 0, 0], "EPERM"),
    ("set_mempolicy_home_node", &[0, 0, 0, 0], "EPERM"),
    ("setdomainname", &[0, 0], "EPERM"),
    ("sethostname", &[0, 0], "EPERM"),
    ("setns", &[u64::MAX, 0], "EPERM"),
    ("setsockopt", &[0, 6, 31, 0, 0], "ENOPROTOOPT"),
    ("setsockopt", &[0, 1, 25, 0, 0], "ENOPROTOOPT"),
    ("setsockopt", &[0, 1, 36, 0, 0], "ENOPROTOOPT"),
    ("setsockopt", &[0, 1, 26, 0, 0], "ENOPROTOOPT"),
    ("settimeofday", &[0, 0], "EPERM"),
    ("socket", &[16, 3, 0], "EAFNOSUPPORT"),
    ("socket", &[17, 3, 0], "EAFNOSUPPORT"),
    ("socket", &[38, 5, 0], "EAFNOSUPPORT"),
    ("socket", &[40, 1, 0], "EAFNOSUPPORT"),
    ("socket", &[2, 3, 255], "EPERM"),
    ("socket", &[2, 5, 0], "EPROTONOSUPPORT"),
    ("socket", &[2, 1, 132], "EPROTONOSUPPORT"),
    ("socket", &[2, 1, 262], "EPROTONOSUPPORT"),
    ("socket", &[10, 2, 136], "EPROTONOSUPPORT"),
    ("socketpair", &[30, 1, 0, 0], "EAFNOSUPPORT"),
    ("splice", &[0, 0, 0, 0, 0, 0], "EPERM"),
    ("statmount", &[0, 0, 0, 0], "ENOSYS"),
    ("swapoff", &[0], "EPERM"),
    ("swapon", &[0, 0], "EPERM"),
    ("sync", &[], "EPERM"),
    ("syncfs", &[u64::MAX], "EPERM"),
    ("syslog", &[3, 0, 0], "EPERM"),
    ("tee", &[0, 0, 0, 0], "EPERM"),
    ("umount2", &[0, 0], "EPERM"),
    ("unshare", &[0x1000_0000], "EPERM"),
    ("unshare", &[0], "EPERM"),
    ("userfaultfd", &[0], "EPERM"),
    ("vhangup", &[], "EPERM"),
    ("vmsplice", &[0, 0, 0, 0], "EPERM"),
];

/// Calls that must get through, and what the kernel then says about their arguments.
#[rustfmt::skip]
const ALLOWED: &[(&str, &[u64], &str)] = &[
    ("getpid", &[], "ok"),
    ("clone", &[0x0001_0000, 0, 0, 0, 0], "EINVAL"),
    ("fcntl", &[1, 3, 0], "ok"),
    ("futex", &[0, 128, 0, 0, 0, 0], "EFAULT"),
    ("membarrier", &[0, 0, 0], "ok"),
    ("personality", &[0xffff_ffff], "ok"),
    ("pidfd_open", &[0, 0], "EINVAL"),
    ("prctl", &[16, 0, 0, 0, 0], "EFAULT"),
    ("prctl", &[0x5678_0000_0003, 0, 0, 0, 0], "ok"),
    ("prlimit64", &[0, 7, 0, 0], "ok"),
    ("seccomp", &[1, 0, 0], "EFAULT"),
    ("seccomp", &[2, 0, 0], "EFAULT"),
    ("socket", &[0x1_0000_0001, 1, 0], "ok"),
    ("socket", &[2, 0o2_004_001, 6], "ok"),
];

#[test]
fn the_kernel_refuses_with_the_documented_error() {
    let mut known: Vec<_> = [REFUSED, ALLOWED]
        .concat()
        .into_iter()
        .filter_map(|(name, arguments, expected)| {
            Some((name, u64::from(Architecture::NATIVE.number(name)?), arguments, expected))
        })
        .collect();
    known.push(("a call of the future", 599, &[], "ENOSYS"));
    known.push(("getpid by its x32 number", 0x4000_0027, &[], "ENOSYS"));
    let mut input = String::new();
    for (_, number, arguments, _) in &known {
        let words: Vec<String> = arguments.iter().map(u64::to_string).collect();
        writeln!(input, "{number} {}", words.join(" ")).unwrap();
    }
    let Some(output) = inside("refused", &input) else { return };
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<_> = answers.lines().collect();
    assert_eq!(answers.len(), known.len(), "{}", String::from_utf8_lossy(&output.stderr));
    let wrong: Vec<_> = known
        .iter()
        .zip(answers)
        .filter(|((_, _, _, expected), answer)| answer != expected)
        .map(|((name, _, arguments, expected), answer)| {
            format!("{name}{arguments:x?}: {answer} instead of {expected}")
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn honest_programs_notice_nothing() {
    let Some(output) = inside("benign", "") else { return };
    let lines = String::from_utf8(output.stdout).unwrap();
    for line in lines.lines().filter_map(|line| line.strip_prefix("skipped ")) {
        skip("tool", "seccomp benign", line);
    }
    let count = |kind: &str| lines.lines().filter(|line| line.starts_with(kind)).count();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{lines}\n{errors}");
    assert_eq!(count("failed"), 0, "{lines}\n{errors}");
    assert_eq!(
        count("passed") + count("skipped"),
        SCRIPT.matches("\ndef check_").count(),
        "{lines}\n{errors}"
    );
    assert!(count("passed") >= 18, "the standard library alone makes 18 checks: {lines}");
}

#[test]
fn the_gate_of_another_architecture_is_deadly() {
    if Architecture::NATIVE != Architecture::X86_64 {
        return skip("tool", "seccomp foreign", "only x86-64 has a second gate that a test can enter");
    }
    let Some(output) = inside("foreign", "") else { return };
    match output.status.signal() {
        Some(libc::SIGSYS) => {}
        Some(libc::SIGSEGV) => {
            skip("tool", "seccomp foreign", "this kernel has no 32-bit system calls");
        }
        _ => panic!("{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}
