import pytest
import torch

from unmask.evaluation.uses.student import foreseen


def test_what_can_be_foreseen_is():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    answers = (x[:, 0] > 0).long()
    assert foreseen(x[:, :1], answers) > 0.95
    assert foreseen(x[:, 1:], answers) == pytest.approx(0.5, abs=0.1)  # sd of a share: 0.035


def test_each_half_is_foreseen_from_the_other():
    """In the second half the sign is turned: what one half teaches is wrong in the other."""
    x = torch.tensor([[-1.0], [1.0], [-1.0], [1.0], [-1.0], [1.0], [-1.0], [1.0]])
    assert foreseen(x, torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])) == 1
    assert foreseen(x, torch.tensor([0, 1, 0, 1, 1, 0, 1, 0])) == 0


def test_one_answer_is_foreseen_and_constant_numbers_do_no_harm():
    assert foreseen(torch.ones(6, 2), torch.zeros(6).long()) == 1
    assert foreseen(torch.ones(6, 2), torch.tensor([0, 0, 0, 1, 1, 0])) == pytest.approx(1 / 6)
    assert foreseen(torch.ones(6, 2), torch.tensor([0, 0, 0, 1, 1, 1])) == 0


@pytest.mark.oracle
@pytest.mark.parametrize("columns", [3, 80])
def test_the_student_is_that_of_scikit_learn(columns):
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, columns, generator=generator, dtype=torch.float64)
    answers = (x[:, :3] + torch.randn(100, 3, generator=generator)).argmax(1)
    right = 0
    for taught, asked in ((slice(50), slice(50, None)), (slice(50, None), slice(50))):
        mean, spread = x[taught].mean(0), x[taught].std(0, correction=0)
        known, new = ((x[part] - mean) / spread for part in (taught, asked))
        student = linear_model.RidgeClassifier().fit(known.numpy(), answers[taught].numpy())
        right += int((student.predict(new.numpy()) == answers[asked].numpy()).sum())
    assert foreseen(x, answers) == right / 100
    assert 0.35 < right / 100 < 1  # chance is a third
