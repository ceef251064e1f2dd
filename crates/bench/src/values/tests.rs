use super::*;

#[test]
fn durations() {
    let ns = |text| duration(text).map(|n| n.0);
    assert_eq!(ns("90s"), Ok(90_000_000_000));
    assert_eq!(ns("1.5ms"), Ok(1_500_000));
    assert_eq!(ns("2h"), Ok(7_200_000_000_000));
    for bad in ["", "5", "s", "-1s", "0s", "0.0ms", "1.2.3s", "1d"] {
        assert!(ns(bad).is_err(), "{bad}");
    }
}

#[test]
fn whole_numbers_are_refused_with_what_may_be_given() {
    assert_eq!(
        (count("8"), count_or_none(" 0"), seed("18446744073709551615")),
        (Ok(NonZeroU32::new(8).unwrap()), Ok(0), Ok(u64::MAX))
    );
    for bad in ["", "0", "-1", "1.5", "x", "4294967296"] {
        assert_eq!(
            count(bad),
            Err("give a whole number from 1 to 4294967295".to_owned()),
            "{bad}"
        );
    }
    assert!(count_or_none("-1").unwrap_err().contains("from 0 to 4294967295"));
    assert!(seed("x").unwrap_err().contains("from 0 to 18446744073709551615"));
}

#[test]
fn quantiles_and_minutes() {
    for (text, share) in [("p95", 0.95), ("0.9", 0.9), ("p99.9", 0.999), ("p50", 0.5)] {
        assert!((quantile(text).unwrap().get() - share).abs() < 1e-12, "{text}");
    }
    for bad in ["", "95", "p", "p0", "p100", "0.4", "1", "NaN"] {
        assert!(quantile(bad).unwrap_err().contains("p95"), "{bad}");
    }
    assert_eq!(minutes("0.5"), Ok(Nanos::from_secs(30)));
    assert_eq!(minutes("20"), Ok(Nanos::from_secs(1200)));
    for bad in ["", "0", "-1", "5m", "inf", "1e300"] {
        assert!(minutes(bad).unwrap_err().contains("minutes"), "{bad}");
    }
}

#[test]
fn arrival_processes_and_back() {
    for text in ["constant", "poisson", "gamma:0.5", "burst:8"] {
        assert_eq!(arrivals_text(arrivals(text).unwrap()), text);
    }
    for bad in [
        "",
        "Poisson",
        "gamma",
        "gamma:0",
        "gamma:x",
        "burst:0",
        "burst:1.5",
        "uniform",
    ] {
        assert!(arrivals(bad).is_err(), "{bad}");
    }
}

#[test]
fn objectives() {
    let all = slo("ttft=2s,tpot=100ms,e2e=30s").unwrap();
    assert_eq!(
        (all.ttft_ns, all.e2e_ns),
        (Some(Nanos::from_secs(2)), Some(Nanos::from_secs(30)))
    );
    assert_eq!(slo("tpot=1ms").unwrap().ttft_ns, None);
    for (bad, says) in [
        ("itl=1s", "no latency"),
        ("ttft", "no objective"),
        ("ttft=1", "unit"),
        ("e2e=1s,e2e=2s", "twice"),
    ] {
        assert!(slo(bad).unwrap_err().contains(says), "{bad}");
    }
}

#[test]
fn headers_as_json() {
    let given: JsonHeaders = r#"{"x-team": "a", "Authorization": "Bearer s3cret"}"#.parse().unwrap();
    assert_eq!(given.0, ["x-team: a", "Authorization: Bearer s3cret"]);
    assert!(!format!("{given:?}").contains("s3cret"));
    for bad in ["", "[]", "x: y", r#"{"x": 5}"#] {
        let said = bad.parse::<JsonHeaders>().unwrap_err();
        assert!(said.contains("JSON object of texts"), "{said}");
    }
    for (bad, says) in [
        (r#"{"Host": "h"}"#, "set by the instrument itself"),
        (r#"{"x y": "v"}"#, "no header name"),
    ] {
        assert!(bad.parse::<JsonHeaders>().unwrap_err().contains(says), "{bad}");
    }
}

#[test]
fn sweeps() {
    let three = [1, 4, 8].map(|n| NonZeroU32::new(n).unwrap()).to_vec();
    assert_eq!("concurrency=1,4, 8".parse(), Ok(Sweep::Concurrency(three)));
    assert!(matches!("rate=0.5,2".parse(), Ok(Sweep::Rate(rates)) if rates.len() == 2));
    for (bad, says) in [
        ("1,2", "what is swept"),
        ("batch=1", "cannot be swept"),
        ("rate=0", "no rate"),
        ("concurrency=", "no concurrency"),
    ] {
        assert!(bad.parse::<Sweep>().unwrap_err().contains(says), "{bad}");
    }
}
