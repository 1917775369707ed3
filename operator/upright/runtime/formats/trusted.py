"""The parts of scikit-learn's models that skops does not know, and why each may be made from a stranger's file.

Skops looks at names alone: what it is told to trust it makes in any of its ways, and it calls a function of a file's
choosing with arguments of the file's choosing. So each name is trusted for one way of making it, and a function only
where it is kept for training and nobody calls it afterwards. `__new__` and `__setstate__` of a type must do nothing but
keep what they get (tests/unit/runtime/test_trusted.py looks). Distributions of scipy.stats, which people give to
RandomizedSearchCV, may not be here: their `__setstate__` runs source text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Way = Literal[
    "ObjectNode",
    "TreeNode",
    "DictNode",
    "TupleNode",
    "PartialNode",
    "DTypeNode",
    "FunctionNode",
    "TypeNode",
    "SparseMatrixNode",
]


@dataclass(frozen=True)
class Part:
    """Why objects of a type may be made."""

    way: Way
    """How skops makes it; a file that wants it made otherwise is refused."""
    within: frozenset[str] | None
    """The names of attributes that may hold it; None: any."""
    reason: str


def _parts(way: Way, reason: str, module: str, names: str, within: str = "") -> dict[str, Part]:
    part = Part(way, frozenset(within.split()) or None, reason)
    return {f"{module}.{name}": part for name in names.split()}


_PLAIN = "is made without __init__ and keeps its attributes in __dict__"
_FITTING = f"{_PLAIN}; fit alone uses it"
_CHECKED = (
    "native code takes its arrays as they are: they are checked after loading, before anything uses them (sound.py)"
)
_NEVER_CALLED = "is looked up, and called by fit and score alone, which nobody asks of a served model"

PARTS: Mapping[str, Part] = {
    # What predicts.
    **_parts("TreeNode", f"is made of numbers and arrays; {_CHECKED}", "sklearn.tree._tree", "Tree"),
    **_parts(
        "ObjectNode", f"{_PLAIN}; {_CHECKED}", "sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor"
    ),
    **_parts("ObjectNode", f"keeps arrays; {_CHECKED}", "sklearn.neighbors._kd_tree", "KDTree"),
    **_parts("ObjectNode", f"keeps arrays; {_CHECKED}", "sklearn.neighbors._ball_tree", "BallTree"),
    **_parts(
        "ObjectNode",
        f"keeps a number, a vector and a matrix; {_CHECKED}. PyFuncDistance, which calls a function, is not here",
        "sklearn.metrics._dist_metrics",
        "BrayCurtisDistance64 CanberraDistance64 ChebyshevDistance64 DiceDistance64 EuclideanDistance64 "
        "HammingDistance64 HaversineDistance64 JaccardDistance64 MahalanobisDistance64 ManhattanDistance64 "
        "MinkowskiDistance64 RogersTanimotoDistance64 RussellRaoDistance64 SEuclideanDistance64 SokalSneathDistance64",
    ),
    **_parts("ObjectNode", f"{_PLAIN}; {_CHECKED}", "scipy.interpolate._bsplines", "BSpline"),
    **_parts("SparseMatrixNode", f"is read without pickles; {_CHECKED}", "scipy.sparse._csr", "csr_array csr_matrix"),
    **_parts("SparseMatrixNode", f"is read without pickles; {_CHECKED}", "scipy.sparse._csc", "csc_array csc_matrix"),
    **_parts("ObjectNode", _PLAIN, "sklearn._loss.loss", "HalfTweedieLoss HalfTweedieLossIdentity"),
    **_parts(
        "ObjectNode",
        _PLAIN,
        "sklearn.calibration",
        "_CalibratedClassifier _SigmoidCalibration _TemperatureScaling",
    ),
    **_parts("ObjectNode", f"{_PLAIN}: an estimator like others", "sklearn.multiclass", "_ConstantPredictor"),
    **_parts("ObjectNode", _PLAIN, "sklearn.cluster._bisect_k_means", "_BisectingTree"),
    **_parts("ObjectNode", _PLAIN, "sklearn.gaussian_process._gpc", "_BinaryGaussianProcessClassifierLaplace"),
    **_parts(
        "ObjectNode",
        f"{_PLAIN}; a metric of PairwiseKernel that is a function must be trusted itself",
        "sklearn.gaussian_process.kernels",
        "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation Matern PairwiseKernel Product RBF "
        "RationalQuadratic Sum WhiteKernel",
    ),
    **_parts("ObjectNode", f"{_PLAIN}: an estimator like others", "sklearn.impute._iterative", "IterativeImputer"),
    **_parts("TupleNode", "is a tuple with names", "sklearn.impute._iterative", "_ImputerTriplet"),
    **_parts("DictNode", "is a dict whose entries are read as attributes", "sklearn.utils._bunch", "Bunch"),
    # What only training used.
    **_parts(
        "ObjectNode",
        f"{_FITTING}; to predict, it asks the best estimator that it holds",
        "sklearn.model_selection._search_successive_halving",
        "HalvingGridSearchCV HalvingRandomSearchCV",
    ),
    **_parts("ObjectNode", _FITTING, "sklearn.neural_network._stochastic_optimizers", "AdamOptimizer SGDOptimizer"),
    **_parts("ObjectNode", _FITTING, "sklearn.compose._column_transformer", "make_column_selector"),
    **_parts("ObjectNode", _FITTING, "sklearn.metrics._scorer", "_CurveScorer _PassthroughScorer _Scorer"),
    **_parts("ObjectNode", _FITTING, "sklearn.utils._metadata_requests", "MetadataRequest MethodMetadataRequest"),
    **_parts(
        "ObjectNode",
        _FITTING,
        "sklearn.model_selection._split",
        "GroupKFold GroupShuffleSplit KFold LeaveOneGroupOut LeaveOneOut LeavePGroupsOut LeavePOut PredefinedSplit "
        "RepeatedKFold RepeatedStratifiedKFold ShuffleSplit StratifiedGroupKFold StratifiedKFold "
        "StratifiedShuffleSplit TimeSeriesSplit _CVIterableWrapper",
    ),
    # Functions that are held, and not called.
    **_parts(
        "FunctionNode",
        _NEVER_CALLED,
        "sklearn.feature_selection._univariate_selection",
        "chi2 f_classif f_oneway f_regression r_regression",
        within="score_func",
    ),
    **_parts(
        "FunctionNode",
        _NEVER_CALLED,
        "sklearn.feature_selection._mutual_info",
        "mutual_info_classif mutual_info_regression",
        within="score_func",
    ),
    **_parts(
        "FunctionNode",
        _NEVER_CALLED,
        "sklearn.cluster._kmeans",
        "_kmeans_single_elkan _kmeans_single_lloyd",
        within="_kmeans_single",
    ),
    **_parts(
        "FunctionNode",
        _NEVER_CALLED,
        "sklearn.metrics._classification",
        "accuracy_score balanced_accuracy_score brier_score_loss cohen_kappa_score d2_brier_score d2_log_loss_score "
        "f1_score fbeta_score hamming_loss hinge_loss jaccard_score log_loss matthews_corrcoef precision_score "
        "recall_score zero_one_loss",
        within="_score_func",
    ),
    **_parts(
        "FunctionNode",
        _NEVER_CALLED,
        "sklearn.metrics._ranking",
        "average_precision_score roc_auc_score top_k_accuracy_score",
        within="_score_func",
    ),
    **_parts(
        "FunctionNode",
        _NEVER_CALLED,
        "sklearn.metrics._regression",
        "d2_absolute_error_score d2_pinball_score d2_tweedie_score explained_variance_score max_error "
        "mean_absolute_error mean_absolute_percentage_error mean_gamma_deviance mean_pinball_loss "
        "mean_poisson_deviance mean_squared_error mean_squared_log_error mean_tweedie_deviance median_absolute_error "
        "r2_score root_mean_squared_error root_mean_squared_log_error",
        within="_score_func",
    ),
    **_parts(
        "FunctionNode",
        _NEVER_CALLED,
        "sklearn.metrics._scorer",
        "negative_likelihood_ratio positive_likelihood_ratio",
        within="_score_func",
    ),
    **_parts(
        "FunctionNode",
        _NEVER_CALLED,
        "sklearn.metrics.cluster._supervised",
        "adjusted_mutual_info_score adjusted_rand_score completeness_score fowlkes_mallows_score homogeneity_score "
        "mutual_info_score normalized_mutual_info_score rand_score v_measure_score",
        within="_score_func",
    ),
    # Functions that a FunctionTransformer calls.
    **_parts(
        "FunctionNode",
        "computes with one array: it reads no file, runs no text, and calls nothing that it is given",
        "numpy",
        "clip fix nan_to_num ravel reshape round sinc squeeze",
        within="func inverse_func",
    ),
    **_parts(
        "FunctionNode",
        "makes an array of what it is given, or refuses it (the columns of HistGradientBoosting with categories)",
        "sklearn.utils.validation",
        "check_array",
        within="func",
    ),
    **_parts(
        "FunctionNode",
        "makes an array of what it is given (held by BSpline)",
        "scipy._lib.array_api_compat.numpy._aliases",
        "asarray",
        within="_asarray",
    ),
    **_parts("PartialNode", "keeps a function, which must be trusted itself, and arguments", "functools", "partial"),
    **_parts("DTypeNode", "is that of an array which NumPy read without pickles", "numpy", "dtype"),
}
"""The parts by the names that skops gives them. To add one: read how it is made, and say here why that runs nothing."""

_COMPARED = "make_column_selector compares with it"
TYPES: Mapping[str, Part] = {
    **_parts("TypeNode", _COMPARED, "numpy", "number", within="dtype_include dtype_exclude"),
    **_parts("TypeNode", _COMPARED, "builtins", "object", within="dtype_include dtype_exclude"),
    **_parts(
        "TypeNode", "fit alone makes one, to repeat it", "sklearn.model_selection._split", "KFold StratifiedKFold", "cv"
    ),
}
"""Types that are held themselves, and of which nothing is made."""
