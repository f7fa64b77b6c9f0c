"""A mistyped word gets the nearest one, and never a name of another tenant."""

from __future__ import annotations

import pytest

import tetris
from support.daemon import Daemon
from support.models import random_model
from tetris.cli.main import main


@pytest.fixture
def daemon(memory, tmp_path):
    config = "\n".join(
        f'[tenants.{name}]\nsocket = "{tmp_path / name / "tetrisd.sock"}"'
        for name in ("red", "blue")
    )
    with Daemon(tmp_path, root=memory / "root", config=config) as running:
        tetris.publish(random_model(tmp_path / "vgg16" / "1"), socket=tmp_path / "red/tetrisd.sock")
        tetris.publish(
            random_model(tmp_path / "vgg19" / "1"), socket=tmp_path / "blue/tetrisd.sock"
        )
        yield running


@pytest.fixture
def ctl(daemon, tmp_path, capsys):
    def run(*words, tenant="red"):
        sockets = [
            *("--socket", str(tmp_path / tenant / "tetrisd.sock")),
            *("--admin-socket", str(daemon.admin_socket)),
        ]
        return main([*words, *sockets]), capsys.readouterr().err.removeprefix("tetrisctl: ")

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "vgg15/1"], "no model vgg15/1: did you mean vgg16/1?\n"),
        (["show", "VGG16"], "no model VGG16: did you mean vgg16/1?\n"),
        (["pin", "vgg16/2", "--tenant", "red"], "no model vgg16/2: did you mean vgg16/1?\n"),
        (["pin", "vgg16/1", "--tenant", "rde"], "no tenant rde: did you mean red?\n"),
        (["quota", "bleu", "4GiB"], "no tenant bleu: did you mean blue?\n"),
        (["pin", "vgg16/1", "--tenant", "blue"], "no model vgg16/1: did you mean vgg19/1?\n"),
    ],
)
def test_a_mistyped_name_suggests_the_nearest(ctl, words, said):
    assert ctl(*words) == (4, said)


def test_a_tenant_is_never_told_a_name_of_another(ctl):
    for words in (["show", "vgg19/1"], ["show", "vgg19/2"], ["show", "zzz"]):
        assert "vgg19/1?" not in ctl(*words)[1]
    assert ctl("pin", "vgg19/2", "--tenant", "red")[1].endswith("did you mean vgg16/1?\n")


def test_nothing_near_is_the_daemons_own_sentence(ctl):
    assert "`tetrisctl models` lists them" in ctl("show", "bert")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["modles"], "no command modles: did you mean models?"),
        (["models", "-o", "jsn"], "no -o/--output jsn: did you mean json?"),
    ],
)
def test_a_mistyped_command_or_choice_suggests_the_nearest(capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
