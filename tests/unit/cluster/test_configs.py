"""Configuration files: addresses of two clusters never meet, and the settings that matter are there."""

from __future__ import annotations

import ipaddress
import json
import tomllib
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from cluster import configs, dns, fakenodes, pki, storage
from cluster.faults import ClusterFault
from cluster.layout import SLOTS, Layout

LAYOUT = Layout("default", 0)
ALL = [Layout(f"c{slot}", slot) for slot in range(SLOTS)]


def test_no_two_clusters_share_an_address() -> None:
    for one, other in combinations(ALL, 2):
        for a, b in ((one.pods, other.pods), (one.services, other.services)):
            assert not ipaddress.ip_network(a).overlaps(ipaddress.ip_network(b))
        assert not {one.host_address, one.node_address} & {other.host_address, other.node_address}


def test_no_two_clusters_share_a_port_a_link_or_a_group() -> None:
    ports = [p for c in ALL for p in (c.api_port, c.etcd_port, c.manager_port, c.relay_port)]
    ports += [p for c in ALL for p in (c.etcd_port + 1, c.manager_port + 1)]
    assert len(set(ports)) == len(ports) and max(ports) < 32768
    assert len({c.host_link for c in ALL}) == len({c.cgroup for c in ALL}) == SLOTS


def test_names_fit_where_the_kernel_limits_them() -> None:
    longest = Layout("a" * 20, SLOTS - 1)
    assert len(longest.host_link) <= 15 and len(longest.node_link) <= 15
    assert len(str(longest.containerd_socket)) <= 107


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a" * 21, "a/b", "a.b", "1a"])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(ClusterFault, match="is no name for a cluster"):
        Layout(name, 0)


def test_a_kubeconfig_is_complete_in_itself() -> None:
    authority = pki.Authority("default")
    text = configs.kubeconfig(LAYOUT, "127.0.0.1", authority.certificate, authority.issue(pki.Subject("admin")))
    found = yaml.safe_load(text)
    assert found["clusters"][0]["cluster"]["server"] == f"https://127.0.0.1:{LAYOUT.api_port}"
    assert found["current-context"] == found["contexts"][0]["name"] == LAYOUT.context
    assert set(found["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}


def test_the_runtime_tells_the_policy_agent_of_pods_before_their_first_packet() -> None:
    found = tomllib.loads(configs.containerd(LAYOUT))
    assert found["plugins"]["io.containerd.nri.v1.nri"]["disable"] is False
    assert found["plugins"]["io.containerd.cri.v1.runtime"]["restrict_oom_score_adj"] is True


def test_pods_are_routed_and_keep_their_addresses() -> None:
    link, _ = json.loads(configs.pod_network(LAYOUT))["plugins"]
    assert (link["type"], link["ipMasq"]) == ("ptp", False)
    assert link["ipam"]["ranges"] == [[{"subnet": "10.244.0.0/24"}]]


def test_the_kubelet_deletes_no_image_and_knows_only_the_clusters_names() -> None:
    found = yaml.safe_load(configs.kubelet(LAYOUT))
    assert found["imageGCHighThresholdPercent"] == 100
    assert found["clusterDNS"] == [LAYOUT.dns_service]
    assert Path(found["resolvConf"]).is_relative_to(LAYOUT.folder)
    assert found["authentication"]["anonymous"] == {"enabled": False}


def test_dns_has_the_address_that_the_kubelet_tells_pods() -> None:
    (service,) = (o for o in dns.manifest(LAYOUT) if o["kind"] == "Service")
    assert service["spec"]["clusterIP"] == LAYOUT.dns_service


def test_the_audit_log_holds_every_request_but_leases() -> None:
    policy = yaml.safe_load(configs.audit_policy())
    assert policy["rules"][-1] == {"level": "Metadata"}
    assert policy["rules"][0] == {"level": "None", "resources": [{"group": "coordination.k8s.io"}]}


def test_only_pods_that_tolerate_it_go_to_a_fake_node() -> None:
    made = fakenodes.fake_node(7)
    assert made["metadata"]["name"] == "fake-0007"
    assert made["spec"]["taints"] == [{"key": fakenodes.MARK, "value": "fake", "effect": "NoSchedule"}]
    assert made["metadata"]["annotations"][fakenodes.MARK] == made["metadata"]["labels"][fakenodes.MARK] == "fake"


def test_a_private_registry_asks_for_a_password_and_the_other_does_not(tmp_path: Path) -> None:
    private = yaml.safe_load(configs.registry(LAYOUT, "a:1", tmp_path, tmp_path / "passwords"))
    assert private["auth"]["htpasswd"]["path"] == str(tmp_path / "passwords")
    assert "auth" not in yaml.safe_load(configs.registry(LAYOUT, "a:1", tmp_path, None))


def test_containerd_finds_each_registry_and_trusts_the_clusters_authority() -> None:
    assert tomllib.loads(configs.containerd(LAYOUT))["plugins"]["io.containerd.cri.v1.images"]["registry"] == {
        "config_path": f"{LAYOUT.folder}/registries"
    }
    for address in (LAYOUT.registry, LAYOUT.private_registry):
        hosts = tomllib.loads(configs.registry_hosts(LAYOUT, address))
        assert hosts["host"][f"https://{address}"]["ca"] == f"{LAYOUT.pki}/ca.crt"


def test_the_class_is_the_default_and_gives_its_volumes_back() -> None:
    (made,) = [o for o in storage.manifest() if o["kind"] == "StorageClass"]
    assert made["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
    assert made["reclaimPolicy"] == "Delete"
