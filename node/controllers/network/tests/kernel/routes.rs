//! Routes and routing rules of the configuration on a real kernel.

use super::*;

const ROUTES: &str = "
{apiVersion: v1alpha1, kind: BlackholeRouteConfig, name: 10.66.0.0/16, metric: 77}
---
{apiVersion: v1alpha1, kind: BlackholeRouteConfig, name: 'fd66::/16'}
---
{apiVersion: v1alpha1, kind: LinkConfig, name: eth0, addresses: [{address: 10.9.0.15/24}],
 routes: [{destination: 10.20.0.0/16, gateway: 10.9.0.1, table: 100, metric: 5, mtu: 1300}]}
---
{apiVersion: v1alpha1, kind: RoutingRuleConfig, name: '1000', src: 10.20.0.0/16, table: '100'}
---
{apiVersion: v1alpha1, kind: RoutingRuleConfig, name: '1001', table: main, action: prohibit, iifName: eth0, fwMark: 3}
";

#[test]
fn routes_to_nowhere_tables_and_rules_follow_the_configuration() {
    in_namespaces(async |folder| {
        cable();
        let state = state(registry());
        let runtime = domain(&state, capabilities(true), folder);
        configure(&state, ROUTES);
        let is_blackhole =
            |row: Option<&RouteStatus>| row.is_some_and(|route| route.route_type == RouteType::BLACKHOLE);
        let nowhere = ["inet4//10.66.0.0/16/77", "lo/inet6//fd66::/16/1024"];
        for id in nowhere {
            wait::<RouteStatus>(&state, id, is_blackhole).await;
        }
        let other = "100/inet4/10.9.0.1/10.20.0.0/16/5";
        wait::<RouteStatus>(&state, other, |row| row.is_some_and(|route| route.mtu == 1300)).await;
        let asks = |row: Option<&RoutingRuleStatus>| row.is_some_and(|rule| rule.table == RouteTable(100));
        wait::<RoutingRuleStatus>(&state, "inet4/01000", asks).await;
        for id in ["inet4/01001", "inet6/01001"] {
            let rule = wait::<RoutingRuleStatus>(&state, id, |row| row.is_some()).await.spec.clone();
            assert_eq!((rule.action, rule.iif_name.as_str()), (RoutingRuleAction::Prohibit, "eth0"));
            assert_eq!((rule.fw_mark, rule.fw_mask), (3, u32::MAX));
        }
        assert!(state.get::<RoutingRuleStatus>("inet4/32766").is_some(), "those of the kernel are shown too");

        let changed = ROUTES.replace("src: 10.20.0.0/16", "src: 10.21.0.0/16");
        configure(&state, &changed);
        let src = Some("10.21.0.0/16".parse().expect("a net"));
        wait::<RoutingRuleStatus>(&state, "inet4/01000", |row| row.is_some_and(|rule| rule.src == src)).await;

        configure(&state, "");
        for id in nowhere.into_iter().chain([other]) {
            gone::<RouteStatus>(&state, id).await;
        }
        for id in ["inet4/01000", "inet4/01001", "inet6/01001"] {
            gone::<RoutingRuleStatus>(&state, id).await;
            gone::<RoutingRuleSpec>(&state, id).await;
        }
        assert!(state.get::<RoutingRuleStatus>("inet4/32766").is_some());
        runtime.stop().await;
    });
}

/// Two ways to one destination, the one with twice the traffic of the other.
#[test]
fn a_route_may_have_several_ways() {
    in_namespaces(async |folder| {
        cable();
        let state = state(registry());
        let runtime = domain(&state, capabilities(true), folder);
        configure(
            &state,
            "{apiVersion: v1alpha1, kind: LinkConfig, name: eth0, addresses: [{address: 10.9.0.15/24}]}\n",
        );
        wait::<AddressStatus>(&state, "eth0/10.9.0.15/24", |row| row.is_some()).await;
        let hop = |last: u8, weight| RouteNextHop {
            gateway: Some(Ipv4Addr::new(10, 9, 0, last).into()),
            out_link_name: "eth0".into(),
            weight,
        };
        let dst = Some("10.30.0.0/16".parse().expect("a net"));
        let route = |weight| RouteSpec {
            next_hops: vec![hop(1, 1), hop(2, weight)],
            scope: Scope::GLOBAL,
            ..RouteSpec::new(Layer::Operator, dst, None, "", 1024)
        };
        let id = route(2).id();
        for weight in [2, 3] {
            state
                .put_in("", CONFIG_NAMESPACE, &layered_id(Layer::Operator, &id), route(weight))
                .expect("put");
            let is_so =
                |row: Option<&RouteStatus>| row.is_some_and(|row| row.next_hops == route(weight).next_hops);
            wait::<RouteStatus>(&state, &id, is_so).await;
        }
        let pointer =
            Pointer::new(CONFIG_NAMESPACE, RouteSpec::DEFINITION.kind, layered_id(Layer::Operator, &id));
        state.remove_any("", &pointer).expect("removed");
        gone::<RouteStatus>(&state, &id).await;
        runtime.stop().await;
    });
}
