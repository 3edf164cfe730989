r"""Search for the best perturbation by Ray Tune, at the cost of one pass of the backbone.

Examples:
  qpert tune                                             the cells of tables C and D, the miniatures, on scenes, offline
  qpert tune --encoder blip2 --weight constant 1-area --scale 0.5 1 2 --threshold 0.9 0.99 --metric 10%
  qpert tune --encoder internvl --sites all 0 1 -1 'qllama.*'
  qpert tune --encoder blip2 --scale 0.1:10:log --threshold 0.7:0.99 --search optuna --trials 40
  qpert tune --encoder coca --scale 0.1:10:log --search random --scheduler asha --shares 0.1 0.3 1
  qpert tune --metric "own-minus-shuffled 10%" --pca uncentred centred --scale 0.5 1 2
  qpert tune --images flickr30k-images --captions dataset_flickr30k.json --annotations flickr30k_entities \
        --encoder blip2 --weights Salesforce/blip2-itm-vit-g-coco

The photos pass the backbone once, and their image tokens are kept in --out. A trial then runs only the cross-attention
part, and concurrent settings share keys and eigendecompositions. Its figures are those of `qpert index` and `qpert
evaluate` with that setting. The setting with the highest --metric on the split --split is then indexed and measured on
--confirm-split, which took no part in the choice. With own-minus-shuffled, every trial is measured with own boxes and
with other photos' boxes, and what counts is the difference: what the objects themselves give. After an interruption,
the same command goes on where it stopped; no setting is embedded twice. Any searcher and scheduler that Ray Tune knows
by name can be used.

Under --out: report.md with tables C and D (or one for every two fields), the same as CSV, heat maps as PNG,
trials.parquet with every figure of every setting, and Ray Tune's record (tensorboard --logdir OUT/ENCODER/tune). For
a bucket the work is done in a copy of it on this machine, and copied back every 20 seconds.
"""

from __future__ import annotations

from importlib.util import find_spec

from pydantic import Field

from pipeline.detectors import check_packages
from pipeline.errors import QpertError
from pipeline.io.writable import check_writable
from pipeline.tuning.spec import TuningSpec


class Config(TuningSpec):
    """The options of ``qpert tune``."""

    dry_run: bool = Field(False, description="print what would be done and stop")


def run(config: Config) -> int:
    """Searches with each encoder, confirms the best, and prints the reports; returns 1 if a trial failed for good."""
    if config.detector is not None:
        check_packages(config.detector)
    if config.search == "optuna" and find_spec("optuna") is None:
        raise QpertError("--search optuna needs optuna: pip install 'qpert[optuna]'")
    # Imported here, because --help must not wait for torch and Ray.
    from pipeline.detectors import check_annotations, check_detector
    from pipeline.experiments.mirror import working_folder
    from pipeline.tuning.planning import plan_runs

    check_writable(config.out)
    with working_folder(config.out, config.address, dry_run=config.dry_run) as folder:
        runs = plan_runs(config.model_copy(update={"out": folder}))
        if config.dry_run:
            print("\n".join(tuning.plan() for tuning in runs))
            return 0
        if config.detector is not None:
            check_detector(config.detector)
            if config.strict_annotations:
                check_annotations(config.detector)
        failures = 0
        for tuning in runs:
            report, failed = tuning.run()
            print(report.replace(folder, config.out))
            failures += failed
    return 1 if failures else 0
