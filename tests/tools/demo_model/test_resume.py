"""A training that was stopped goes on where it was."""

import torch

from tools.demo_model.resume import Resume


def parts(seed):
    torch.manual_seed(seed)
    model = torch.nn.Linear(2, 2)
    return model, torch.optim.AdamW(model.parameters(), 0.1)


def one_step(model, optimizer):
    model(torch.ones(1, 2)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_a_stopped_training_goes_on_as_if_it_had_not_been(tmp_path):
    model, optimizer = parts(0)
    one_step(model, optimizer)
    Resume(tmp_path / "a.pt", model, optimizer, interval_s=0).keep(1)
    one_step(model, optimizer)

    again, its_optimizer = parts(1)
    assert Resume(tmp_path / "a.pt", again, its_optimizer).begin() == 1
    one_step(again, its_optimizer)
    assert torch.equal(again.weight, model.weight)


def test_a_finished_training_leaves_nothing_to_go_on_from(tmp_path):
    state = Resume(tmp_path / "a.pt", *parts(0), interval_s=0)
    state.keep(5)
    state.done()
    assert state.begin() == 0
    assert not list(tmp_path.iterdir())
