"""The manifests for Kubernetes, by its own schema. No cluster runs them here."""

import copy
import re

import kubernetes_validate
import pytest
import yaml

from stack import ROOT

FOLDER = ROOT / "deploy/kubernetes"


def documents():
    for path in sorted(FOLDER.rglob("*.yaml")):
        if path.name != "kustomization.yaml":
            for document in yaml.safe_load_all(path.read_text()):
                yield pytest.param(document, id=f"{path.parent.name}/{path.stem}/{document['kind']}")


def validate(document):
    kubernetes_validate.validate(document, "1.31", strict=True)


@pytest.mark.parametrize("document", list(documents()))
def test_manifests_are_what_kubernetes_takes(document):
    validate(document)
    broken = copy.deepcopy(document)
    broken["spce"] = broken.get("spec", {})
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(broken)


def pods():
    for document in (parameter.values[0] for parameter in documents()):
        if document["kind"] in ("Deployment", "Job"):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def test_no_pod_has_rights_that_it_does_not_need():
    assert {name for name, _ in pods()} == {"serve", "worker", "indexer", "migrate"}
    for name, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] and rights["allowPrivilegeEscalation"] is False, name
            assert rights["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"], name
            assert not any("value" in variable and "SECRET" in variable["name"] for variable in container.get("env", []))


def test_overlays_change_what_there_is():
    names = {(d.values[0]["kind"], d.values[0]["metadata"]["name"]) for d in documents()}
    for path in FOLDER.rglob("kustomization.yaml"):
        kustomization = yaml.safe_load(path.read_text())
        for resource in kustomization["resources"]:
            assert (path.parent / resource).exists(), (path, resource)
        for patch in kustomization.get("patches", []):
            for name in patch["target"]["name"].split("|"):
                assert (patch["target"]["kind"], name) in names, (path, name)
            assert yaml.safe_load(patch["patch"]), path


def test_a_pod_is_given_longer_to_end_than_a_process_takes():
    lifecycle = (ROOT / "Sources/Base/Lifecycle/Lifecycle.swift").read_text()
    drain = int(re.search(r"defaultDrainMilliseconds: UInt64 = ([\d_]+)", lifecycle)[1].replace("_", "")) / 1000
    for name, pod in pods():
        if name != "migrate":
            stop = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            assert pod["terminationGracePeriodSeconds"] >= 2 * drain + stop, name
