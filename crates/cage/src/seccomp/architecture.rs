//! The architectures a policy can be compiled for, and the names of their system calls.
//!
//! The tables come from the kernel's `unistd.h` of each architecture, up to Linux 7.0. A line holds consecutive
//! numbers and begins with the first of them.

/// A processor architecture with its own system call numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// 64-bit x86, without its x32 numbering.
    X86_64,
    /// 64-bit Arm, little endian.
    Aarch64,
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the room's seccomp policy knows the system calls of x86_64 and aarch64 only");

impl Architecture {
    /// All architectures there are tables for.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The architecture this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The architecture this program was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;

    /// Returns the word by which the kernel tells a filter the architecture of a call (`AUDIT_ARCH_*`).
    pub fn audit_word(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Returns the first number of the x32 numbering, if this architecture has one (`__X32_SYSCALL_BIT`).
    pub fn x32_start(self) -> Option<u32> {
        match self {
            Self::X86_64 => Some(0x4000_0000),
            Self::Aarch64 => None,
        }
    }

    /// Returns the number of the named system call.
    pub fn number(self, name: &str) -> Option<u32> {
        self.syscalls().find(|(_, known)| *known == name).map(|(number, _)| number)
    }

    /// Lists all system calls by number and name, in the order of their numbers.
    pub fn syscalls(self) -> impl Iterator<Item = (u32, &'static str)> {
        let table = match self {
            Self::X86_64 => X86_64,
            Self::Aarch64 => AARCH64,
        };
        table.lines().flat_map(|line| {
            let (first, names) = line.split_once(':').unwrap_or(("", ""));
            let first = first.parse().unwrap_or_default();
            (first..).zip(names.split_whitespace())
        })
    }
}

const X86_64: &str = "\
0: read write open close stat fstat lstat poll lseek mmap mprotect munmap brk
13: rt_sigaction rt_sigprocmask rt_sigreturn ioctl pread64 pwrite64 readv writev access
22: pipe select sched_yield mremap msync mincore madvise shmget shmat shmctl dup dup2
34: pause nanosleep getitimer alarm setitimer getpid sendfile socket connect accept
44: sendto recvfrom sendmsg recvmsg shutdown bind listen getsockname getpeername
53: socketpair setsockopt getsockopt clone fork vfork execve exit wait4 kill uname
64: semget semop semctl shmdt msgget msgsnd msgrcv msgctl fcntl flock fsync fdatasync
76: truncate ftruncate getdents getcwd chdir fchdir rename mkdir rmdir creat link unlink
88: symlink readlink chmod fchmod chown fchown lchown umask gettimeofday getrlimit
98: getrusage sysinfo times ptrace getuid syslog getgid setuid setgid geteuid getegid
109: setpgid getppid getpgrp setsid setreuid setregid getgroups setgroups setresuid
118: getresuid setresgid getresgid getpgid setfsuid setfsgid getsid capget capset
127: rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack utime mknod
134: uselib personality ustat statfs fstatfs sysfs getpriority setpriority
142: sched_setparam sched_getparam sched_setscheduler sched_getscheduler
146: sched_get_priority_max sched_get_priority_min sched_rr_get_interval mlock munlock
151: mlockall munlockall vhangup modify_ldt pivot_root _sysctl prctl arch_prctl adjtimex
160: setrlimit chroot sync acct settimeofday mount umount2 swapon swapoff reboot
170: sethostname setdomainname iopl ioperm create_module init_module delete_module
177: get_kernel_syms query_module quotactl nfsservctl getpmsg putpmsg afs_syscall
184: tuxcall security gettid readahead setxattr lsetxattr fsetxattr getxattr lgetxattr
193: fgetxattr listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr
200: tkill time futex sched_setaffinity sched_getaffinity set_thread_area io_setup
207: io_destroy io_getevents io_submit io_cancel get_thread_area lookup_dcookie
213: epoll_create epoll_ctl_old epoll_wait_old remap_file_pages getdents64
218: set_tid_address restart_syscall semtimedop fadvise64 timer_create timer_settime
224: timer_gettime timer_getoverrun timer_delete clock_settime clock_gettime
229: clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill utimes vserver
237: mbind set_mempolicy get_mempolicy mq_open mq_unlink mq_timedsend mq_timedreceive
244: mq_notify mq_getsetattr kexec_load waitid add_key request_key keyctl ioprio_set
252: ioprio_get inotify_init inotify_add_watch inotify_rm_watch migrate_pages openat
258: mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat symlinkat
267: readlinkat fchmodat faccessat pselect6 ppoll unshare set_robust_list
274: get_robust_list splice tee sync_file_range vmsplice move_pages utimensat
281: epoll_pwait signalfd timerfd_create eventfd fallocate timerfd_settime
287: timerfd_gettime accept4 signalfd4 eventfd2 epoll_create1 dup3 pipe2 inotify_init1
295: preadv pwritev rt_tgsigqueueinfo perf_event_open recvmmsg fanotify_init
301: fanotify_mark prlimit64 name_to_handle_at open_by_handle_at clock_adjtime syncfs
307: sendmmsg setns getcpu process_vm_readv process_vm_writev kcmp finit_module
314: sched_setattr sched_getattr renameat2 seccomp getrandom memfd_create
320: kexec_file_load bpf execveat userfaultfd membarrier mlock2 copy_file_range preadv2
328: pwritev2 pkey_mprotect pkey_alloc pkey_free statx io_pgetevents rseq uretprobe
336: uprobe
424: pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree
429: move_mount fsopen fsconfig fsmount fspick pidfd_open clone3 close_range openat2
438: pidfd_getfd faccessat2 process_madvise epoll_pwait2 mount_setattr quotactl_fd
444: landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret
448: process_mrelease futex_waitv set_mempolicy_home_node cachestat fchmodat2
453: map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount
459: lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat
465: listxattrat removexattrat open_tree_attr file_getattr file_setattr listns
471: rseq_slice_yield
";

const AARCH64: &str = "\
0: io_setup io_destroy io_submit io_cancel io_getevents setxattr lsetxattr fsetxattr
8: getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr lremovexattr
16: fremovexattr getcwd lookup_dcookie eventfd2 epoll_create1 epoll_ctl epoll_pwait dup
24: dup3 fcntl inotify_init1 inotify_add_watch inotify_rm_watch ioctl ioprio_set
31: ioprio_get flock mknodat mkdirat unlinkat symlinkat linkat renameat umount2 mount
41: pivot_root nfsservctl statfs fstatfs truncate ftruncate fallocate faccessat chdir
50: fchdir chroot fchmod fchmodat fchownat fchown openat close vhangup pipe2 quotactl
61: getdents64 lseek read write readv writev pread64 pwrite64 preadv pwritev sendfile
72: pselect6 ppoll signalfd4 vmsplice splice tee readlinkat newfstatat fstat sync fsync
83: fdatasync sync_file_range timerfd_create timerfd_settime timerfd_gettime utimensat
89: acct capget capset personality exit exit_group waitid set_tid_address unshare futex
99: set_robust_list get_robust_list nanosleep getitimer setitimer kexec_load init_module
106: delete_module timer_create timer_gettime timer_getoverrun timer_settime
111: timer_delete clock_settime clock_gettime clock_getres clock_nanosleep syslog ptrace
118: sched_setparam sched_setscheduler sched_getscheduler sched_getparam
122: sched_setaffinity sched_getaffinity sched_yield sched_get_priority_max
126: sched_get_priority_min sched_rr_get_interval restart_syscall kill tkill tgkill
132: sigaltstack rt_sigsuspend rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait
138: rt_sigqueueinfo rt_sigreturn setpriority getpriority reboot setregid setgid
145: setreuid setuid setresuid getresuid setresgid getresgid setfsuid setfsgid times
154: setpgid getpgid getsid setsid getgroups setgroups uname sethostname setdomainname
163: getrlimit setrlimit getrusage umask prctl getcpu gettimeofday settimeofday adjtimex
172: getpid getppid getuid geteuid getgid getegid gettid sysinfo mq_open mq_unlink
182: mq_timedsend mq_timedreceive mq_notify mq_getsetattr msgget msgctl msgrcv msgsnd
190: semget semctl semtimedop semop shmget shmctl shmat shmdt socket socketpair bind
201: listen accept connect getsockname getpeername sendto recvfrom setsockopt getsockopt
210: shutdown sendmsg recvmsg readahead brk munmap mremap add_key request_key keyctl
220: clone execve mmap fadvise64 swapon swapoff mprotect msync mlock munlock mlockall
231: munlockall mincore madvise remap_file_pages mbind get_mempolicy set_mempolicy
238: migrate_pages move_pages rt_tgsigqueueinfo perf_event_open accept4 recvmmsg
260: wait4 prlimit64 fanotify_init fanotify_mark name_to_handle_at open_by_handle_at
266: clock_adjtime syncfs setns sendmmsg process_vm_readv process_vm_writev kcmp
273: finit_module sched_setattr sched_getattr renameat2 seccomp getrandom memfd_create
280: bpf execveat userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2
288: pkey_mprotect pkey_alloc pkey_free statx io_pgetevents rseq kexec_file_load
424: pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree
429: move_mount fsopen fsconfig fsmount fspick pidfd_open clone3 close_range openat2
438: pidfd_getfd faccessat2 process_madvise epoll_pwait2 mount_setattr quotactl_fd
444: landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret
448: process_mrelease futex_waitv set_mempolicy_home_node cachestat fchmodat2
453: map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount
459: lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat
465: listxattrat removexattrat open_tree_attr file_getattr file_setattr listns
471: rseq_slice_yield
";

#[cfg(test)]
mod tests {
    use super::Architecture;

    #[test]
    fn every_line_of_a_table_is_well_formed_and_ascends() {
        for (architecture, count) in [(Architecture::X86_64, 385), (Architecture::Aarch64, 327)] {
            let calls: Vec<_> = architecture.syscalls().collect();
            assert_eq!(calls.len(), count);
            assert!(calls.windows(2).all(|pair| pair[0].0 < pair[1].0), "{architecture:?}");
        }
    }

    #[test]
    fn numbers_agree_with_the_c_library() {
        let known = [
            ("read", libc::SYS_read),
            ("write", libc::SYS_write),
            ("ioctl", libc::SYS_ioctl),
            ("socket", libc::SYS_socket),
            ("clone", libc::SYS_clone),
            ("execve", libc::SYS_execve),
            ("ptrace", libc::SYS_ptrace),
            ("setns", libc::SYS_setns),
            ("unshare", libc::SYS_unshare),
            ("mount", libc::SYS_mount),
            ("mknodat", libc::SYS_mknodat),
            ("newfstatat", libc::SYS_newfstatat),
            ("futex", libc::SYS_futex),
            ("prctl", libc::SYS_prctl),
            ("prlimit64", libc::SYS_prlimit64),
            ("keyctl", libc::SYS_keyctl),
            ("personality", libc::SYS_personality),
            ("process_vm_writev", libc::SYS_process_vm_writev),
            ("kexec_file_load", libc::SYS_kexec_file_load),
            ("bpf", libc::SYS_bpf),
            ("seccomp", libc::SYS_seccomp),
            ("statx", libc::SYS_statx),
            ("rseq", libc::SYS_rseq),
            ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
            ("io_uring_setup", libc::SYS_io_uring_setup),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("pidfd_getfd", libc::SYS_pidfd_getfd),
            ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
            ("memfd_secret", libc::SYS_memfd_secret),
            ("mseal", libc::SYS_mseal),
        ];
        for (name, number) in known {
            assert_eq!(Architecture::NATIVE.number(name).map(libc::c_long::from), Some(number), "{name}");
        }
    }
}
