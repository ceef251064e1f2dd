use super::*;

fn dirs(own: &str, mountinfo: &str) -> Vec<String> {
    let found = cpu_groups(own, mountinfo);
    found.iter().map(|dir| dir.display().to_string()).collect()
}

const V1: &str = "30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                  31 25 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";
const V2: &str = "24 23 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

#[test]
fn cgroups_of_both_versions_are_found() {
    assert_eq!(
        dirs("0::/user.slice/app\n", V2),
        [
            "/sys/fs/cgroup/user.slice/app",
            "/sys/fs/cgroup/user.slice",
            "/sys/fs/cgroup/"
        ]
    );
    assert_eq!(
        dirs("5:cpuset:/\n4:cpu,cpuacct:/lab\n0::/elsewhere\n", V1),
        ["/sys/fs/cgroup/cpu,cpuacct/lab", "/sys/fs/cgroup/cpu,cpuacct/"]
    );
    // Both versions at once: the CPU controller is in the first.
    let both = format!("{V2}{V1}").replace(" /sys/fs/cgroup rw,nosuid shared:4", " /sys/fs/cgroup/unified rw");
    assert_eq!(dirs("1:cpu:/\n0::/\n", &both), ["/sys/fs/cgroup/cpu,cpuacct/"]);
    assert_eq!(dirs("3:cpuset:/x\n0::/\n", &both), ["/sys/fs/cgroup/unified/"]);
}

#[test]
fn a_container_sees_its_own_group() {
    let mounted = "30 25 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
    assert_eq!(
        dirs("0::/docker/abc/sub\n", mounted),
        ["/sys/fs/cgroup/sub", "/sys/fs/cgroup/"]
    );
    assert_eq!(dirs("0::/docker/abc\n", mounted), ["/sys/fs/cgroup/"]);
    assert_eq!(dirs("0::/../other\n", V2), ["/sys/fs/cgroup/"]);
    assert_eq!(dirs("0::/\n", "no mounts"), [""; 0]);
}

#[test]
fn cpu_stat_of_both_versions() {
    let v1 = "nr_periods 40\nnr_throttled 12\nthrottled_time 960000000\n";
    let v2 = "usage_usec 5\nuser_usec 4\nsystem_usec 1\nnr_periods 40\nnr_throttled 12\nthrottled_usec 960000\n";
    let expected = Throttled {
        times: 12,
        ns: 960_000_000,
    };
    assert_eq!(throttled(v1), Some(expected));
    assert_eq!(throttled(v2), Some(expected));
    // The root of version 2 counts none.
    assert_eq!(throttled("usage_usec 5\nuser_usec 4\nsystem_usec 1\n"), None);
}

#[test]
fn steal_is_that_of_the_cpus_in_use() {
    let status = "Name:\tservelab\nCpus_allowed:\tb\nCpus_allowed_list:\t0-1,3\nnonvoluntary_ctxt_switches:\t7\n";
    let cpus = allowed_cpus(status).unwrap();
    assert_eq!(cpus, [0, 1, 3]);
    let stat = "cpu  9 9 9 9 9 9 9 999 0 0\ncpu0 1 2 3 4 5 6 7 10 0 0\ncpu1 1 2 3 4 5 6 7 20 0 0\n\
                cpu2 1 2 3 4 5 6 7 500 0 0\ncpu3 1 2 3 4 5 6 7 30 0 0\nintr 5\n";
    assert_eq!(steal(stat, &cpus), Some(vec![10, 20, 30]));
    assert_eq!(steal("cpu  1 2 3 4\ncpu0 1 2 3 4\n", &cpus), None, "an old kernel");
    assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), Some("7"));
}

fn look(at_ms: u64) -> Look {
    Look {
        at: Some(WallInstant(at_ms * 1_000_000)),
        ..Look::default()
    }
}

#[test]
fn shares_are_of_the_time_between_two_looks() {
    let before = Look {
        steal: Some(vec![100, 200]),
        throttled: vec![Throttled { times: 1, ns: 5 }, Throttled { times: 4, ns: 9 }],
        queue: run_queue("900 1000 10"),
        involuntary: Some(5),
        ..look(1000)
    };
    let after = Look {
        steal: Some(vec![105, 205]),
        throttled: vec![
            Throttled { times: 1, ns: 5 },
            Throttled {
                times: 9,
                ns: 500_000_009,
            },
        ],
        queue: run_queue("950 20001000 110\n"),
        involuntary: Some(8),
        ..look(2000)
    };
    let seen = starvation(&before, &after);
    let ratio = |r| Some(Ratio::new(r).unwrap());
    let expected = Starvation {
        wall_ns: 1_000_000_000,
        stolen_ratio: ratio(0.04), // 5 ticks of 10 ms, without one for the grain
        throttled_count: Some(5),
        throttled_ratio: ratio(0.5),
        run_queue_wait_ratio: ratio(0.02),
        run_queue_turns: Some(100),
        involuntary_switches: Some(3),
    };
    assert_eq!(seen, expected);
    // A grain is not held against a load, and what is not known is absent.
    let grain = Look {
        steal: Some(vec![101, 200]),
        ..look(1100)
    };
    let seen = starvation(&before, &grain);
    assert_eq!(seen.stolen_ratio, ratio(0.0));
    assert_eq!((seen.throttled_ratio, seen.run_queue_wait_ratio), (None, None));
    assert_eq!(starvation(&look(5), &look(5)), Starvation::default());
}

#[test]
fn this_kernel_says_something() {
    let look = Look::now();
    assert!(look.queue.is_some() && look.involuntary.is_some(), "{look:?}");
    assert!(look.steal.is_some_and(|cpus| !cpus.is_empty()));
}
