use super::*;

#[test]
fn an_empty_configuration_has_defaults() {
    let view = MachineView::new(&[]);
    assert!(!view.complete && !view.is_control_plane());
}
